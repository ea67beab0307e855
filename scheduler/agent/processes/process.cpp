#include "scheduler/agent/processes/process.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "common/error.h"

namespace wattle::agent {
namespace {

namespace fs = std::filesystem;

struct Stat {
  char state = 0;
  int parent = 0;
  uint64_t start_ticks = 0;
};

/// Fields 3, 4 and 22 of /proc/PID/stat (proc(5)); the name before them may hold anything.
std::optional<Stat> read_stat(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  Stat stat;
  fields >> stat.state >> stat.parent;
  std::string skipped;
  for (int field = 5; field < 22; ++field) fields >> skipped;
  if (!(fields >> stat.start_ticks)) return std::nullopt;
  return stat;
}

bool has_ended(const Stat& stat) { return stat.state == 'Z' || stat.state == 'X'; }

std::map<int, Stat> all_processes() {
  std::map<int, Stat> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const int pid = std::stoi(name);
    if (const auto stat = read_stat(pid)) all.emplace(pid, *stat);
  }
  return all;
}

class Pidfd {
 public:
  explicit Pidfd(int pid) : fd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  ~Pidfd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Pidfd(const Pidfd&) = delete;
  Pidfd& operator=(const Pidfd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

std::optional<ProcessId> find_process(int pid) {
  const auto stat = read_stat(pid);
  if (!stat || has_ended(*stat)) return std::nullopt;
  return ProcessId{pid, stat->start_ticks};
}

bool is_running(const ProcessId& process) {
  return process.pid > 0 && find_process(process.pid) == process;
}

bool send_signal(const ProcessId& process, int signal) {
  if (process.pid <= 1) return false;
  const Pidfd fd(process.pid);
  if (fd.get() < 0 && errno == ESRCH) return false;
  if (fd.get() < 0) {
    throw Error(ErrorCode::kIo,
                fmt::format("pidfd_open of process {}: {}", process.pid, std::strerror(errno)));
  }
  // Whoever has the number now keeps it while the descriptor is open.
  if (!is_running(process)) return false;
  if (::syscall(SYS_pidfd_send_signal, fd.get(), signal, nullptr, 0) == 0) return true;
  if (errno == ESRCH) return false;
  throw Error(ErrorCode::kIo, fmt::format("signal {} to process {}: {}", signal, process.pid,
                                          std::strerror(errno)));
}

void signal_all(const std::vector<ProcessId>& processes, int signal) {
  for (const ProcessId& process : processes) send_signal(process, signal);
}

std::vector<ProcessId> own_descendants() {
  return descendants(ProcessId{::getpid(), read_stat(::getpid()).value_or(Stat{}).start_ticks});
}

std::vector<ProcessId> descendants(const ProcessId& ancestor) {
  const std::map<int, Stat> all = all_processes();
  const auto first = all.find(ancestor.pid);
  if (first == all.end() || first->second.start_ticks != ancestor.start_ticks) return {};
  std::multimap<int, int> children;
  for (const auto& [pid, stat] : all) children.emplace(stat.parent, pid);
  std::vector<ProcessId> found;
  std::vector<int> parents{ancestor.pid};
  for (size_t next = 0; next < parents.size() && parents.size() <= all.size(); ++next) {
    const auto [begin, end] = children.equal_range(parents[next]);
    for (auto child = begin; child != end; ++child) {
      const Stat& stat = all.at(child->second);
      parents.push_back(child->second);
      if (!has_ended(stat)) found.push_back({child->second, stat.start_ticks});
    }
  }
  return found;
}

std::vector<std::pair<ProcessId, std::string>> started_with(const std::string& variable) {
  std::vector<std::pair<ProcessId, std::string>> found;
  for (const auto& [pid, stat] : all_processes()) {
    if (has_ended(stat)) continue;
    std::ifstream file(fmt::format("/proc/{}/environ", pid), std::ios::binary);
    for (std::string entry; std::getline(file, entry, '\0');) {
      if (entry.starts_with(variable + "=")) {
        found.push_back({{pid, stat.start_ticks}, entry.substr(variable.size() + 1)});
        break;
      }
    }
  }
  return found;
}

double boot_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_BOOTTIME, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

const std::string& boot_id() {
  static const std::string id = [] {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string line;
    if (!std::getline(file, line)) {
      throw Error(ErrorCode::kIo, "/proc/sys/kernel/random/boot_id: can't be read");
    }
    return line;
  }();
  return id;
}

}  // namespace wattle::agent
