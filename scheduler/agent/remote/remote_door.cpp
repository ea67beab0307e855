#include "scheduler/agent/remote/remote_door.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "scheduler/agent/remote/socket_path.h"

namespace wattle::agent {
namespace {

constexpr size_t kLongestRequest = 1 << 16;
/// Others of the job's account that may come in besides.
constexpr int kMoreVisitors = 16;

std::string hex(const std::string& bytes) {
  std::string digits;
  for (unsigned char byte : bytes) digits += fmt::format("{:02x}", byte);
  return digits;
}

/// Root may come in anywhere, so that the check is for others.
bool may_enter(int fd, const std::optional<Account>& account) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == (account ? account->uid : ::geteuid());
}

}  // namespace

RemoteDoor::RemoteDoor(const std::string& folder, const std::string& name, int hosts,
                       const std::optional<Account>& account)
    : path_(folder + "/" + name), account_(account), most_visitors_(hosts + kMoreVisitors) {
  const AsUser as_user(account);
  ::unlink(path_.c_str());
  const SocketPath path(folder, name);
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const sockaddr_un address = path.address();
  if (fd_ < 0 || ::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(fd_, most_visitors_) != 0) {
    const std::string why = std::strerror(errno);
    if (fd_ >= 0) ::close(fd_);
    throw Error(ErrorCode::kIo, fmt::format("{}: {}", path_, why));
  }
}

RemoteDoor::~RemoteDoor() {
  for (const Visitor& visitor : visitors_) ::close(visitor.fd);
  ::close(fd_);
  const AsUser as_user(account_);
  ::unlink(path_.c_str());
}

std::vector<DoorRequest> RemoteDoor::poll() {
  while (visitors_.size() < static_cast<size_t>(most_visitors_)) {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) break;
    if (may_enter(fd, account_)) {
      visitors_.push_back({fd, -1, ""});
    } else {
      ::close(fd);
    }
  }
  std::vector<DoorRequest> requests;
  std::erase_if(visitors_, [&](Visitor& visitor) {
    if (hear(visitor, requests)) return false;
    ::close(visitor.fd);
    return true;
  });
  return requests;
}

/// False when the visitor has left, or talks nonsense.
bool RemoteDoor::hear(Visitor& visitor, std::vector<DoorRequest>& requests) {
  char piece[4096];
  ssize_t size = 0;
  while ((size = ::read(visitor.fd, piece, sizeof(piece))) > 0) {
    visitor.received.append(piece, static_cast<size_t>(size));
    if (visitor.received.size() > kLongestRequest) return false;
  }
  if (size == 0 || (errno != EAGAIN && errno != EINTR)) return false;
  const size_t end = visitor.received.find('\n');
  if (end == std::string::npos || visitor.host >= 0) return true;
  const auto request = nlohmann::json::parse(visitor.received.substr(0, end), nullptr, false);
  try {
    DoorRequest asked{visitor.fd, request.at("host"), request.at("argv")};
    visitor.host = asked.host;
    requests.push_back(std::move(asked));
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

void RemoteDoor::tell(int host, const std::string& line) {
  for (const Visitor& visitor : visitors_) {
    if (visitor.host != host) continue;
    // A visitor that does not read loses output; whether one has left, poll() sees.
    static_cast<void>(::send(visitor.fd, line.data(), line.size(), MSG_NOSIGNAL) > 0);
  }
}

void RemoteDoor::give_output(int host, const std::string& output) {
  tell(host, fmt::format("{{\"output\": \"{}\"}}\n", hex(output)));
}

void RemoteDoor::give_exit(int host, int exit_code) {
  tell(host, fmt::format("{{\"exit\": {}}}\n", exit_code));
}

}  // namespace wattle::agent
