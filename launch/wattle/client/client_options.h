#pragma once

#include <optional>
#include <string>

#include "common/config/schema.h"

namespace wattle {

/// The files of a user's side of mutual TLS. In client.yaml, relative paths start at its folder.
struct ClientTls {
  std::string ca;
  std::string cert;
  std::string key;
  void describe(Fields& f);
};

/// Where the daemon is and who asks: client.yaml, over which environment variables go, over which
/// flags go.
struct ClientOptions {
  std::string server = "127.0.0.1:7443";
  ClientTls tls;
  bool insecure_loopback = false;
  double deadline_seconds = 15;
  void describe(Fields& f);
};

/// What flags or the environment give.
struct ClientOverrides {
  std::string config;  ///< path of client.yaml; empty: the user's own, if there is one
  std::string server, ca, cert, key;
  bool insecure_loopback = false;
  std::optional<double> deadline_seconds;
};

/// The options in force. Throws Error(kConfig) naming the file's line, or what is missing and where
/// it can be given.
ClientOptions resolve_client_options(const ClientOverrides& overrides);

/// ${XDG_CONFIG_HOME:-~/.config}/wattle/client.yaml; empty if there is no home.
std::string default_client_config();

}  // namespace wattle
