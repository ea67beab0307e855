#include "scheduler/agent/processes/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "common/error.h"

namespace wattle::agent {
namespace {

/// What went wrong in the child, as it comes through the pipe.
struct Failure {
  int step = 0;
  int error = 0;
};
constexpr const char* kSteps[] = {"become the account",  "enter the job's folder",
                                  "set a limit",         "take the processors",
                                  "redirect the output", "run the program"};

bool set_limit(decltype(RLIMIT_AS) resource, const std::optional<int64_t>& value) {
  if (!value) return true;
  const rlimit limit{static_cast<rlim_t>(*value), static_cast<rlim_t>(*value)};
  return ::setrlimit(resource, &limit) == 0;
}

bool set_limits(const RunLimits& limits) {
  const rlimit no_core{0, 0};
  return ::setrlimit(RLIMIT_CORE, &no_core) == 0 && set_limit(RLIMIT_AS, limits.memory_bytes) &&
         set_limit(RLIMIT_NPROC, limits.processes) && set_limit(RLIMIT_NOFILE, limits.open_files) &&
         set_limit(RLIMIT_FSIZE, limits.file_bytes);
}

bool become(const std::optional<Account>& account) {
  if (!account || account->uid == ::geteuid()) return true;
  return ::setgroups(0, nullptr) == 0 && ::setgid(account->gid) == 0 && ::setuid(account->uid) == 0;
}

bool take_cpus(const std::vector<int>& cpus) {
  if (cpus.empty()) return true;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus) CPU_SET(cpu, &set);
  return ::sched_setaffinity(0, sizeof(set), &set) == 0;
}

bool redirect(int log_fd) {
  const int null = ::open("/dev/null", O_RDONLY);
  return null >= 0 && ::dup2(null, 0) == 0 && ::dup2(log_fd, 1) == 1 && ::dup2(log_fd, 2) == 2;
}

/// Ends this process with its keeper, also if that has just died. A change of the account would
/// take it back.
void die_with(pid_t keeper) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != keeper) ::_exit(126);
}

/// In the child, between fork and exec. Returns only on failure.
Failure become_command(const KeeperOrder& order, pid_t keeper, int log_fd, char* const* argv,
                       char* const* environment) {
  ::setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal : {SIGPIPE, SIGCHLD}) ::signal(signal, SIG_DFL);
  if (!redirect(log_fd)) return {4, errno};
  if (!set_limits(order.limits)) return {2, errno};
  if (!take_cpus(order.cpus)) return {3, errno};
  if (!become(order.account)) return {0, errno};
  die_with(keeper);
  if (::chdir(order.folder.c_str()) != 0) return {1, errno};
  ::execvpe(argv[0], argv, environment);
  return {5, errno};
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

int start_command(const KeeperOrder& order, int log_fd) {
  std::vector<std::string> words = order.argv, variables;
  for (const auto& [name, value] : order.environment) variables.push_back(name + "=" + value);
  const std::vector<char*> argv = pointers_to(words), environment = pointers_to(variables);
  int pipe[2];
  if (words.empty() || ::pipe2(pipe, O_CLOEXEC) != 0) {
    throw Error(ErrorCode::kIo, fmt::format("can't start a command: {}", std::strerror(errno)));
  }
  const pid_t keeper = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    const Failure failure = become_command(order, keeper, log_fd, argv.data(), environment.data());
    const ssize_t ignored = ::write(pipe[1], &failure, sizeof(failure));
    ::_exit(ignored > 0 ? 127 : 126);
  }
  const int fork_error = errno;
  ::close(pipe[1]);
  Failure failure;
  const bool failed = pid < 0 || ::read(pipe[0], &failure, sizeof(failure)) == sizeof(failure);
  ::close(pipe[0]);
  if (!failed) return pid;
  if (pid > 0) ::waitpid(pid, nullptr, 0);
  throw Error(ErrorCode::kIo,
              pid < 0 ? fmt::format("can't start {}: {}", words[0], std::strerror(fork_error))
                      : fmt::format("can't start {}: can't {}: {}", words[0], kSteps[failure.step],
                                    std::strerror(failure.error)));
}

}  // namespace wattle::agent
