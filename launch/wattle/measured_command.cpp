#include "launch/wattle/measured_command.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "common/error.h"
#include "energy/accounting/energy_monitor.h"
#include "energy/meters/cpu_time.h"

extern char** environ;

namespace wattle {
namespace {

constexpr int kExitCannotRun = 126;
constexpr int kExitNotFound = 127;
constexpr int kExitSignalled = 128;

/// Holds back, while it lives, the signals that the wait below takes one by one.
class HeldSignals {
 public:
  HeldSignals() {
    sigemptyset(&held_);
    for (const int signal : {SIGCHLD, SIGTERM, SIGHUP, SIGINT, SIGQUIT}) sigaddset(&held_, signal);
    sigprocmask(SIG_BLOCK, &held_, &before_);
  }
  ~HeldSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;
  const sigset_t& before() const { return before_; }

  /// The next of them, with who sent it.
  siginfo_t wait() const {
    siginfo_t info{};
    while (sigwaitinfo(&held_, &info) < 0) {
      if (errno == EINTR) continue;
      throw Error(ErrorCode::kInternal, fmt::format("sigwaitinfo: {}", std::strerror(errno)));
    }
    return info;
  }

 private:
  sigset_t held_{}, before_{};
};

/// Starts the command; 0 with the exit code that stands for the failure.
pid_t start(const std::vector<std::string>& command, const sigset_t& mask, int& exit_code) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &mask);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int code =
      posix_spawnp(&pid, arguments[0], nullptr, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  if (code == 0) return pid;
  fmt::print(stderr, "wattle energy: {}: {}\n", command[0], std::strerror(code));
  exit_code = code == ENOENT ? kExitNotFound : kExitCannotRun;
  return 0;
}

/// Reaps whatever has ended; true with the exit code once the command itself has.
bool reap(pid_t command, int& exit_code) {
  bool has_ended = false;
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid != command) continue;  // an orphan that came to this process
    exit_code = WIFSIGNALED(status) ? kExitSignalled + WTERMSIG(status) : WEXITSTATUS(status);
    has_ended = true;
  }
  return has_ended;
}

int wait_for(pid_t command, const HeldSignals& signals) {
  int exit_code = 0;
  while (!reap(command, exit_code)) {
    const siginfo_t info = signals.wait();
    if (info.si_signo != SIGCHLD && info.si_code == SI_USER) kill(command, info.si_signo);
  }
  return exit_code;
}

/// Processor time of all that this process started, ended or not.
double descendants_cpu_seconds() {
  rusage ended{};
  getrusage(RUSAGE_CHILDREN, &ended);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  const double living_too = tree_cpu_seconds(getpid()) - process_cpu_seconds();
  return std::max(seconds(ended.ru_utime) + seconds(ended.ru_stime), living_too);
}

}  // namespace

MeasuredCommand run_measured(const std::vector<std::string>& command,
                             const EnergyOptions& options) {
  // What the command leaves running comes to this process, so that its time is not lost.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const HeldSignals signals;
  SteadyClock clock;
  std::atomic<bool> has_ended = false;
  MeterEnvironment environment = MeterEnvironment::of_this_process();
  environment.cpu_seconds = [&has_ended] { return has_ended ? descendants_cpu_seconds() : 0; };
  FoundMeters found = find_meters(options, environment, clock);

  MeasuredCommand measured;
  EnergyMonitor monitor(std::move(found), options, clock, EnergyMonitor::Sampling::kThread);
  measured.notes = monitor.notes();
  const double began = clock.now_seconds();
  if (const pid_t pid = start(command, signals.before(), measured.exit_code)) {
    measured.exit_code = wait_for(pid, signals);
  }
  measured.seconds = clock.now_seconds() - began;
  has_ended = true;
  measured.devices = monitor.ledger().devices();
  for (const DeviceTotal& device : measured.devices) {
    measured.joules[device.known_source()] += device.joules;
  }
  return measured;
}

}  // namespace wattle
