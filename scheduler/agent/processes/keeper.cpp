#include "scheduler/agent/processes/keeper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <future>
#include <thread>
#include <utility>

#include "common/error.h"
#include "scheduler/agent/power/fall_back.h"
#include "scheduler/agent/power/lease_file.h"
#include "scheduler/agent/processes/command.h"
#include "scheduler/agent/processes/keeper_files.h"

extern char** environ;

namespace wattle::agent {
namespace {

constexpr timespec kPoll{0, 100'000'000};
constexpr double kLookSeconds = 1;  ///< between two walks through all processes

double children_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

class Keeper {
 public:
  Keeper(std::string folder, int log_fd)
      : order_(read_order(folder)),
        folder_(std::move(folder)),
        log_fd_(log_fd),
        lease_(order_.lease_file, LeaseFile::Access::kRead) {
    if (!order_.joules_file.empty()) joules_.emplace(order_.joules_file, LeaseFile::Access::kRead);
  }

  Ending run();

 private:
  void say(const std::string& message) const {
    ::dprintf(log_fd_, "wattle: %s\n", message.c_str());
  }
  void let_go() const;
  void begin_fall_back();
  void watch_fall_back(bool cut_off);
  void stop_with_checkpoint(const char* why);
  void hold_to_lease();
  void kill(const std::string& why);
  void reap();
  void end_if_childless();

  KeeperOrder order_;
  std::string folder_;
  int log_fd_;
  LeaseFile lease_;
  std::optional<LeaseFile> joules_;
  int command_ = 0;
  bool has_children_ = true;
  double looked_ = 0, had_processes_ = 0;  ///< the command, below it; 0: never
  bool is_cut_off_ = false, is_told_to_stop_ = false;
  std::optional<int> exit_code_;
  std::future<std::string> failures_;  ///< of a fall_back() that is under way
  std::string killed_for_;             ///< "" = not by this keeper
};

void Keeper::reap() {
  int status = 0;
  pid_t pid = 0;
  while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid != command_) continue;
    exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  has_children_ = pid == 0;
}

/// A dead agent, too, may have left ranks stopped. Not mpirun, which would hand it on and say so.
void Keeper::let_go() const {
  if (order_.fallback.freezes) return signal_all(own_descendants(), SIGCONT);
  if (const auto command = find_process(command_)) signal_all(descendants(*command), SIGCONT);
}

void Keeper::kill(const std::string& why) {
  if (!exit_code_ && killed_for_.empty()) {
    killed_for_ = why;
    say("the run is killed: " + why);
  }
  signal_all(own_descendants(), SIGKILL);
}

/// In a thread of its own, for the control file may lie where a node that is cut off can't write,
/// and nothing keeps a run longer than its lease.
void Keeper::begin_fall_back() {
  say("the scheduler can't be reached: falling to the safe power limit");
  if (failures_.valid()) return;
  std::packaged_task<std::string()> task([fallback = order_.fallback, account = order_.account] {
    return fall_back(fallback, account);
  });
  failures_ = task.get_future();
  std::thread(std::move(task)).detach();
}

/// Where the scheduler is back before a late failure is known, the agent holds the limit.
void Keeper::watch_fall_back(bool cut_off) {
  if (!failures_.valid()) return;
  if (failures_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return;
  const std::string failures = failures_.get();
  if (failures.empty()) return;
  const std::string why = "its power can't be limited: " + failures;
  cut_off ? kill(why) : say(why);
}

void Keeper::stop_with_checkpoint(const char* why) {
  if (std::exchange(is_told_to_stop_, true)) return;
  say(fmt::format("{}: stopping with a checkpoint", why));
  if (const auto command = find_process(command_)) send_signal(*command, SIGUSR1);
}

/// Signals are sent again at each look: an agent that does not yet know how things are may send
/// others.
void Keeper::hold_to_lease() {
  const Lease lease = lease_.read();
  const double now = boot_seconds();
  if (now >= lease.runs_until) {
    return kill("the scheduler could not be reached before the lease on runs was over");
  }
  const bool cut_off = now >= lease.watts_until;
  // Ranks that stand still use none.
  const bool stands = order_.fallback.freezes && cut_off;
  const bool has_joules = stands || !joules_ || now < joules_->read().runs_until;
  const bool is_to_stop = !has_joules || now >= stop_time(lease, order_.stop_seconds);
  if (cut_off && !is_cut_off_) begin_fall_back();
  watch_fall_back(cut_off);
  if (stands && !is_to_stop) {
    signal_all(own_descendants(), SIGSTOP);
  } else if (is_to_stop || cut_off != is_cut_off_) {
    let_go();
  }
  is_cut_off_ = cut_off;
  if (is_to_stop) {
    stop_with_checkpoint(has_joules ? "the scheduler can't be reached" : "its joules are used");
  }
}

void Keeper::end_if_childless() {
  const double now = boot_seconds();
  if (!order_.childless_seconds || exit_code_ || now < looked_ + kLookSeconds) return;
  looked_ = now;
  const auto command = find_process(command_);
  if (!command) return;
  if (!descendants(*command).empty()) {
    had_processes_ = now;
  } else if (had_processes_ > 0 && now > had_processes_ + *order_.childless_seconds) {
    say(fmt::format("{} hangs: all of its processes have ended {:.0f} s ago; it is killed",
                    order_.argv.front(), now - had_processes_));
    send_signal(*command, SIGKILL);
  }
}

Ending Keeper::run() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigset_t held;
  sigfillset(&held);
  ::sigprocmask(SIG_BLOCK, &held, nullptr);
  try {
    command_ = start_command(order_, log_fd_);
  } catch (const Error& e) {
    return {127, 0, boot_seconds(), e.what(), StartFault::kNode};
  }
  if (const auto command = find_process(command_)) {
    write_process(folder_ + "/command.json", *command);
  }
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  while (true) {
    reap();
    if (!has_children_) break;
    // What the command has left behind is nobody's: nothing of a run outlives its command.
    if (exit_code_) signal_all(own_descendants(), SIGKILL);
    hold_to_lease();
    end_if_childless();
    ::sigtimedwait(&child, nullptr, &kPoll);
  }
  return {exit_code_.value_or(128 + SIGKILL), children_cpu_seconds(), boot_seconds(), killed_for_,
          killed_for_.empty() ? StartFault::kNone : StartFault::kElsewhere};
}

int open_or_throw(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CREAT | O_CLOEXEC, 0640);
  if (fd < 0) {
    throw Error(ErrorCode::kIo, fmt::format("{}: can't open: {}", path, std::strerror(errno)));
  }
  return fd;
}

}  // namespace

int keep(const std::string& folder) {
  const int lock = open_or_throw(keeper_lock(folder), O_RDWR);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0 || keeper_of(folder)) return kExitFailed;
  const int log_fd = open_or_throw(folder + "/log", O_WRONLY | O_APPEND);
  Keeper keeper(folder, log_fd);
  write_process(folder + "/keeper.json", *find_process(::getpid()));
  write_ending(folder, keeper.run());
  return kExitDone;
}

ProcessId start_keeper(const std::string& program, const std::string& folder) {
  std::string path = program, verb = "keep", argument = folder;
  char* argv[] = {path.data(), verb.data(), argument.data(), nullptr};
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_init(&actions);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, path.c_str(), &actions, &attributes, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    throw Error(ErrorCode::kIo, fmt::format("can't start a keeper: {}", std::strerror(error)));
  }
  return find_process(pid).value_or(ProcessId{pid, 0});
}

}  // namespace wattle::agent
