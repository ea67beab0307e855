#include "energy/meters/cpu_time.h"

#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

#include "common/error.h"

namespace wattle {
namespace {

struct ProcessTimes {
  int parent = 0;
  double ticks = 0;  // its own and those of the children it waited for
};

/// Fields 4 and 14 to 17 of /proc/PID/stat (proc(5)); the name before them may hold anything.
bool read_stat(const std::filesystem::path& path, ProcessTimes& times) {
  std::ifstream file(path);
  std::string text;
  if (!std::getline(file, text)) return false;  // the process ended meanwhile
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return false;
  std::istringstream fields(text.substr(name_end + 1));
  char state = 0;
  fields >> state >> times.parent;
  std::string skipped;
  for (int field = 5; field < 14; ++field) fields >> skipped;
  double user = 0, system = 0, children_user = 0, children_system = 0;
  if (!(fields >> user >> system >> children_user >> children_system)) return false;
  times.ticks = user + system + children_user + children_system;
  return true;
}

bool is_below(int pid, int root, const std::map<int, ProcessTimes>& all) {
  for (size_t hops = 0; hops <= all.size(); ++hops) {
    if (pid == root) return true;
    const auto it = all.find(pid);
    if (it == all.end()) return false;
    pid = it->second.parent;
  }
  return false;
}

}  // namespace

double process_cpu_seconds() {
  timespec time{};
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0) {
    throw Error(ErrorCode::kIo, "energy: the system has no clock of processor time");
  }
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double tree_cpu_seconds(int pid, const std::string& proc) {
  std::map<int, ProcessTimes> all;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(proc, error)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    ProcessTimes times;
    if (read_stat(entry.path() / "stat", times)) all.emplace(std::stoi(name), times);
  }
  double ticks = 0;
  for (const auto& [id, times] : all) {
    if (is_below(id, pid, all)) ticks += times.ticks;
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace wattle
