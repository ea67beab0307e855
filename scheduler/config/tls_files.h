#pragma once

#include <string>

#include "common/config/schema.h"

namespace wattle::scheduler {

/// The files of one side of mutual TLS, PEM each; `wattle certs` makes them (docs/CLUSTER.md).
struct TlsFiles {
  std::string ca;
  std::string cert;
  std::string key;
  void describe(Fields& f);
};

/// How a program secures its links: mutual TLS, or nothing at all between programs of one machine,
/// which has to be asked for by name.
struct LinkSecurity {
  TlsFiles tls;
  bool insecure_loopback = false;
};

/// Adds `tls` and `insecure_loopback` to a program's options, and the checks on them; `address_key`
/// holds the HOST:PORT that is listened on or called.
void describe_security(Fields& f, LinkSecurity& security, const std::string& address_key,
                       const std::string& address);

/// Whether HOST:PORT is on this machine: 127.x.y.z, [::1] or localhost.
bool is_loopback(const std::string& address);

/// "" or what is wrong with HOST:PORT.
std::string fault_of_address(const std::string& address);

}  // namespace wattle::scheduler
