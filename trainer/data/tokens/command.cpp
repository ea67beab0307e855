#include "trainer/data/tokens/command.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/error.h"

extern char** environ;

namespace wattle {
namespace {

/// A file descriptor that is closed at the end of its scope.
struct Descriptor {
  int fd = -1;
  ~Descriptor() { close_now(); }
  void close_now() {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
};

[[noreturn]] void fail(const std::string& program, const char* what, int reason) {
  throw Error(ErrorCode::kUnsupported, program + ": " + what + ": " + std::strerror(reason));
}

/// Owns what posix_spawn is told of the child's descriptors.
struct SpawnActions {
  posix_spawn_file_actions_t actions;
  SpawnActions() { posix_spawn_file_actions_init(&actions); }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions); }
};

std::string read_all(int fd, const std::string& program) {
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count == 0) return text;
    if (count > 0) text.append(buffer.data(), static_cast<size_t>(count));
    if (count < 0 && errno != EINTR) fail(program, "its output can't be read", errno);
  }
}

int wait_for(pid_t pid, const std::string& program) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) fail(program, "can't be waited for", errno);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

CommandResult run_command(const std::vector<std::string>& command) {
  const std::string& program = command.front();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail(program, "no pipe for its output", errno);
  const Descriptor from_child{ends[0]};
  Descriptor to_parent{ends[1]};

  SpawnActions spawn;
  posix_spawn_file_actions_adddup2(&spawn.actions, to_parent.fd, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&spawn.actions, to_parent.fd, STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  pid_t pid = 0;
  const int error =
      ::posix_spawnp(&pid, program.c_str(), &spawn.actions, nullptr, arguments.data(), environ);
  if (error != 0) fail(program, "can't be started", error);
  to_parent.close_now();
  CommandResult result;
  result.output = read_all(from_child.fd, program);
  result.exit_code = wait_for(pid, program);
  return result;
}

}  // namespace wattle
