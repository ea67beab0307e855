#include "scheduler/agent/remote/socket_path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/error.h"

namespace wattle::agent {

SocketPath::SocketPath(const std::string& folder, const std::string& name)
    : name_(name), folder_fd_(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  if (folder_fd_ < 0) {
    throw Error(ErrorCode::kIo, fmt::format("{}: {}", folder, std::strerror(errno)));
  }
}

SocketPath::~SocketPath() { ::close(folder_fd_); }

sockaddr_un SocketPath::address() const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", folder_fd_, name_);
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

}  // namespace wattle::agent
