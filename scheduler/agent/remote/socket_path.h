#pragma once

#include <sys/un.h>

#include <string>

namespace wattle::agent {

/// The address of a socket in a folder whose path may be longer than the 107 bytes that a socket's
/// address holds: it goes through a descriptor of the folder, which stays open as long as this
/// lives. Throws Error(kIo) if the folder can't be opened.
class SocketPath {
 public:
  SocketPath(const std::string& folder, const std::string& name);
  ~SocketPath();
  SocketPath(const SocketPath&) = delete;
  SocketPath& operator=(const SocketPath&) = delete;

  sockaddr_un address() const;

 private:
  std::string name_;
  int folder_fd_ = -1;
};

}  // namespace wattle::agent
