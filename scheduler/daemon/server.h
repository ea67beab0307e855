#pragma once

#include <memory>

namespace wattle::scheduler {

class Daemon;

/// The gRPC services of a daemon with health checking and reflection, and /metrics, listening from
/// construction to destruction. Messages above kMostMessageBytes are refused, a connection that
/// shows no certificate within ten seconds is closed, and so are those beyond most_connections().
///
/// Throws Error(kIo) if an address can't be listened on, otherwise as server_credentials() does.
class Server {
 public:
  explicit Server(Daemon& daemon);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const;          ///< of the services; useful where `listen` says port 0
  int metrics_port() const;  ///< 0 if there is none
  /// Throws Error(kIo), with what to do, if one of the addresses is not listened on any more: the
  /// program is to end then.
  void require_listening() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace wattle::scheduler
