#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "scheduler/agent/remote/remote_door.h"
#include "scheduler/agent/remote/socket_path.h"
#include "scheduler/agent/runs/job_command.h"

namespace wattle::agent {
namespace {

constexpr useconds_t kPauseMicroseconds = 200'000;

std::string required_variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') {
    throw Error(ErrorCode::kConfig,
                fmt::format("remote-shell: is called by mpirun within a run: {} is not set", name));
  }
  return value;
}

class Connection {
 public:
  explicit Connection(const SocketPath& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const sockaddr_un address = path.address();
    is_open_ = fd_ >= 0 &&
               ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Connection() {
    if (fd_ >= 0) ::close(fd_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool send(const std::string& text) {
    return is_open_ &&
           ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }

  /// The next whole line; nothing when the other side is gone.
  std::optional<std::string> line() {
    while (true) {
      const size_t end = received_.find('\n');
      if (end != std::string::npos) {
        std::string line = received_.substr(0, end);
        received_.erase(0, end + 1);
        return line;
      }
      char piece[4096];
      const ssize_t size = ::read(fd_, piece, sizeof(piece));
      if (size <= 0) return std::nullopt;
      received_.append(piece, static_cast<size_t>(size));
    }
  }

 private:
  int fd_;
  bool is_open_ = false;
  std::string received_;
};

void print_hex(const std::string& digits) {
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    std::fputc(std::stoi(digits.substr(i, 2), nullptr, 16), stderr);
  }
  std::fflush(stderr);
}

/// The exit code over there; nothing if the agent has gone away.
std::optional<int> talk(const SocketPath& path, const std::string& request) {
  Connection agent(path);
  if (!agent.send(request)) return std::nullopt;
  while (const auto line = agent.line()) {
    const auto message = nlohmann::json::parse(*line, nullptr, false);
    if (!message.is_object()) return std::nullopt;
    if (message.contains("output")) print_hex(message.at("output"));
    if (message.contains("exit")) return message.at("exit").get<int>();
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> shell_words(const std::string& command) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < command.size(); ++i) {
    const char c = command[i];
    if (c == '\\' && quote != '\'' && i + 1 < command.size()) {
      word += command[++i];
      in_word = true;
    } else if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        word += c;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t' || c == '\n') {
      if (in_word) words.push_back(std::exchange(word, ""));
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0) throw Error(ErrorCode::kFormat, "a quote is left open in: " + command);
  if (in_word) words.push_back(word);
  return words;
}

int remote_shell(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2 || host_of(arguments[0]) < 0) {
    throw Error(ErrorCode::kConfig, "remote-shell: expected a node's alias and a command");
  }
  std::string command;
  for (size_t i = 1; i < arguments.size(); ++i) command += arguments[i] + " ";
  const nlohmann::json request{{"host", host_of(arguments[0])}, {"argv", shell_words(command)}};
  const SocketPath door(required_variable(kFolderVariable), required_variable(kDoorVariable));
  const pid_t mpirun = ::getppid();
  while (::getppid() == mpirun) {
    if (const auto code = talk(door, request.dump() + "\n")) return *code;
    ::usleep(kPauseMicroseconds);
  }
  return kExitFailed;
}

}  // namespace wattle::agent
