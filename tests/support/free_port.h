#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/error.h"

namespace wattle {

/// A port of the loopback device that nobody listens on now. Throws Error(kIo).
inline int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  if (fd < 0 || ::bind(fd, any, size) != 0 || ::getsockname(fd, any, &size) != 0) {
    throw Error(ErrorCode::kIo, "no port is free");
  }
  ::close(fd);
  return ntohs(address.sin_port);
}

}  // namespace wattle
