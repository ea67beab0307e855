#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "scheduler/config/tls_files.h"

namespace grpc {
class Channel;
}

namespace wattle::bench {

/// A site in a folder of its own: an authority, certificates, and a real `wattled` over mutual TLS
/// that ends with this object. Throws Error if the daemon does not answer within 30 s.
class Site {
 public:
  Site(const std::string& wattled, const std::string& folder, double cap_watts);
  ~Site();
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  /// A connection of its own for a user of a tenant, an operator, or a node. Certificates are
  /// issued with the first call for a name; one thread.
  std::shared_ptr<grpc::Channel> as_user(const std::string& tenant);
  std::shared_ptr<grpc::Channel> as_operator();
  std::shared_ptr<grpc::Channel> as_node(const std::string& name);

  /// Throws Error(kCommunication) if the daemon has ended by itself.
  void require_alive();
  /// Processor seconds that the daemon has used, and its resident bytes.
  double cpu_seconds() const;
  double resident_bytes() const;

 private:
  std::shared_ptr<grpc::Channel> open(const std::string& certificate) const;
  void start(const std::string& wattled);
  void await_daemon();

  std::string folder_;
  std::string address_;
  pid_t daemon_ = -1;
};

}  // namespace wattle::bench
