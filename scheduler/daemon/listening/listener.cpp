#include "scheduler/daemon/listening/listener.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>

#include "common/error.h"

namespace wattle::scheduler {
namespace {

constexpr int kBacklog = 4096;            ///< the system has a bound of its own, too
constexpr int kUnansweredMs = 5000;       ///< a peer that confirms nothing for so long is gone
constexpr int kScarceMs = 100;            ///< until files are tried for again
constexpr double kTellAgainSeconds = 60;  ///< of connections that are refused

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

[[noreturn]] void fail(const std::string& address, const std::string& why) {
  throw Error(ErrorCode::kIo, fmt::format("listen: {} can't be listened on: {}", address, why));
}

Addresses resolve(const std::string& host, const std::string& port, const std::string& address) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int status = ::getaddrinfo(host.c_str(), port.c_str(), &wanted, &found);
  if (status != 0) fail(address, ::gai_strerror(status));
  return {found, ::freeaddrinfo};
}

bool set(int socket, int level, int option, int value) {
  return ::setsockopt(socket, level, option, &value, sizeof(value)) == 0;
}

/// A socket that listens, or -1 with errno. Connections have its options.
int listen_on(const addrinfo& address, int port) {
  sockaddr_storage place{};
  std::memcpy(&place, address.ai_addr, address.ai_addrlen);
  // The port lies at the same place in both.
  reinterpret_cast<sockaddr_in*>(&place)->sin_port = htons(static_cast<uint16_t>(port));
  const int fd = ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const bool is_v6 = address.ai_family == AF_INET6;
  const bool listens = set(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
                       set(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
                       set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUnansweredMs) &&
                       (!is_v6 || set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)) &&
                       ::bind(fd, reinterpret_cast<sockaddr*>(&place), address.ai_addrlen) == 0 &&
                       ::listen(fd, kBacklog) == 0;
  if (listens) return fd;
  const int reason = errno;
  ::close(fd);
  errno = reason;
  return -1;
}

/// The machine has not this address of a host, or no addresses of this kind.
bool is_elsewhere(int reason) { return reason == EADDRNOTAVAIL || reason == EAFNOSUPPORT; }

int port_of(int listener) {
  sockaddr_storage place{};
  socklen_t size = sizeof(place);
  if (::getsockname(listener, reinterpret_cast<sockaddr*>(&place), &size) != 0) return 0;
  return ntohs(reinterpret_cast<const sockaddr_in*>(&place)->sin_port);
}

/// The system, or this process, has no file or memory for another connection.
bool is_scarcity(int reason) {
  return reason == EMFILE || reason == ENFILE || reason == ENOBUFS || reason == ENOMEM;
}

/// The socket itself is no listening one any more; all else concerns one connection.
bool is_end(int reason) {
  return reason == EBADF || reason == EINVAL || reason == ENOTSOCK || reason == EOPNOTSUPP;
}

double steady_seconds() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

}  // namespace

Listener::Listener(const std::string& address, int64_t most_connections, Take take)
    : most_connections_(most_connections), take_(std::move(take)) {
  try {
    open(address);
    wake_ = ::eventfd(0, EFD_CLOEXEC);
    if (wake_ < 0) fail(address, std::strerror(errno));
  } catch (const Error&) {
    close_all();
    throw;
  }
  thread_ = std::thread([this] { run(); });
}

Listener::~Listener() {
  ::eventfd_write(wake_, 1);
  thread_.join();
  close_all();
  ::close(wake_);
}

void Listener::close_all() {
  for (const int listener : listeners_) ::close(listener);
}

/// All of IPv6 takes IPv4 in; where the machine has no IPv6, there is IPv4 alone.
void Listener::open(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  port_ = std::stoi(address.substr(colon + 1));
  const bool is_everywhere = host == "0.0.0.0" || host == "::";
  std::string why = "it has no address";
  for (const std::string& name :
       is_everywhere ? std::vector<std::string>{"::", "0.0.0.0"} : std::vector<std::string>{host}) {
    const Addresses found = resolve(name, std::to_string(port_), address);
    for (const addrinfo* one = found.get(); one; one = one->ai_next) {
      const int listener = listen_on(*one, port_);
      if (listener >= 0) {
        listeners_.push_back(listener);
        port_ = port_of(listener);
        continue;
      }
      const int reason = errno;
      why = std::strerror(reason);
      if (!is_elsewhere(reason)) fail(address, why);
    }
    if (!listeners_.empty()) return;
  }
  fail(address, why);
}

void Listener::run() {
  std::vector<pollfd> waited = {{wake_, POLLIN, 0}};
  for (const int listener : listeners_) waited.push_back({listener, POLLIN, 0});
  while (true) {
    if (::poll(waited.data(), waited.size(), -1) < 0) continue;  // EINTR, or memory for a moment
    if (waited[0].revents != 0) return;
    for (const pollfd& one : waited) {
      if (one.revents != 0 && !accept_from(one.fd)) return;
    }
  }
}

bool Listener::accept_from(int listener) {
  const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  const int reason = errno;
  if (connection >= most_connections_) {
    ::close(connection);
    refuse(fmt::format("{} files are open, as many as connections may take", most_connections_));
  } else if (connection >= 0) {
    take_(connection, listener);
  } else if (is_scarcity(reason)) {
    refuse(std::strerror(reason));
    std::this_thread::sleep_for(std::chrono::milliseconds(kScarceMs));
  } else if (is_end(reason)) {
    const std::lock_guard lock(mutex_);
    fault_ = fmt::format("accept: {}", std::strerror(reason));
    return false;
  }
  return true;
}

void Listener::refuse(const std::string& why) {
  ++refused_;
  if (steady_seconds() < told_seconds_ + kTellAgainSeconds) return;
  spdlog::warn("connections are closed at once, or wait: {} so far: {}", refused_, why);
  told_seconds_ = steady_seconds();
  refused_ = 0;
}

std::string Listener::fault() const {
  const std::lock_guard lock(mutex_);
  return fault_;
}

}  // namespace wattle::scheduler
