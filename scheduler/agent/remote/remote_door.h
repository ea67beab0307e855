#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/agent/processes/as_user.h"

namespace wattle::agent {

/// What comes through a door: start this on that host of the run.
struct DoorRequest {
  int connection = 0;
  int host = 0;
  std::vector<std::string> argv;
};

/// A socket in a job's folder at which mpirun's helper (`wattle-agent remote-shell`) asks for a
/// daemon on another node and waits until that has ended. Only the job's account may come in.
/// Nothing here waits: `poll()` takes what has arrived.
///
/// On the socket, each message is a line of JSON: {"host": 1, "argv": [...]} from the helper; to it
/// {"output": "..."} in hexadecimal digits, any number of times, then {"exit": N}.
class RemoteDoor {
 public:
  /// For a helper of each of `hosts`, which stays as long as its daemon does. Throws Error(kIo) if
  /// there can be no such socket.
  RemoteDoor(const std::string& folder, const std::string& name, int hosts,
             const std::optional<Account>& account);
  ~RemoteDoor();
  RemoteDoor(const RemoteDoor&) = delete;
  RemoteDoor& operator=(const RemoteDoor&) = delete;

  std::vector<DoorRequest> poll();
  /// Hands on what a daemon printed, or its exit code, to all who asked for that host.
  void give_output(int host, const std::string& output);
  void give_exit(int host, int exit_code);

 private:
  struct Visitor {
    int fd = -1;
    int host = -1;  // once it has asked
    std::string received;
  };
  bool hear(Visitor& visitor, std::vector<DoorRequest>& requests);
  void tell(int host, const std::string& line);

  std::string path_;
  std::optional<Account> account_;
  int most_visitors_;
  int fd_ = -1;
  std::list<Visitor> visitors_;
};

/// What mpirun calls in place of ssh: `wattle-agent remote-shell ALIAS COMMAND...`. Asks the agent
/// through the door, hands its output on, and returns the exit code of the daemon over there. It
/// asks again when the agent was started anew.
int remote_shell(const std::vector<std::string>& arguments);

/// The words of a command as a shell would see them: quotes and backslashes are taken away, and
/// nothing is expanded. Throws Error(kFormat) if a quote is left open.
std::vector<std::string> shell_words(const std::string& command);

}  // namespace wattle::agent
