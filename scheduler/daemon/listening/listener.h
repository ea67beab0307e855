#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace wattle::scheduler {

/// Listens on an address and hands every connection on, for as long as it lives: where files are
/// scarce, those that come are closed, or wait a moment, and later ones are taken again. gRPC's own
/// listener (1.51) never takes another one after accept() has failed once.
///
/// Any thread.
class Listener {
 public:
  /// Takes a connection, whose descriptor does not block and is closed on exec; is told the
  /// listening one, too. Called on one thread.
  using Take = std::function<void(int connection, int listener)>;

  /// On every address of the host that the machine has, at one port (0: any). The addresses 0.0.0.0
  /// and [::] are all of IPv4 and IPv6. A connection whose descriptor is beyond `most_connections`
  /// is closed at once. Throws Error(kIo) that names `address` if one of them can't be listened on,
  /// or there is none.
  Listener(const std::string& address, int64_t most_connections, Take take);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const { return port_; }
  /// "" or why nobody can connect any more.
  std::string fault() const;

 private:
  void open(const std::string& address);
  void close_all();
  void run();
  /// Whether the socket can still be listened on.
  bool accept_from(int listener);
  void refuse(const std::string& why);

  int64_t most_connections_;
  Take take_;
  int port_ = 0;
  int wake_ = -1;  ///< readable when it ends
  std::vector<int> listeners_;
  int64_t refused_ = 0;  ///< since the log spoke of it
  double told_seconds_ = -1e9;
  mutable std::mutex mutex_;
  std::string fault_;
  std::thread thread_;
};

}  // namespace wattle::scheduler
