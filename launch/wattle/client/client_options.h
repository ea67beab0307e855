#pragma once

#include <optional>
#include <string>

#include "scheduler/config/client_options.h"

namespace wattle {

using scheduler::ClientOptions;

/// What flags or the environment give.
struct ClientOverrides {
  std::string config;  ///< path of client.yaml; empty: the user's own, if there is one
  std::string server, ca, cert, key;
  bool insecure_loopback = false;
  std::optional<double> deadline_seconds;
};

/// The options in force: client.yaml, over which environment variables go, over which flags go.
/// Throws Error(kConfig) naming the file's line, or what is missing and where
/// it can be given.
ClientOptions resolve_client_options(const ClientOverrides& overrides);

/// ${XDG_CONFIG_HOME:-~/.config}/wattle/client.yaml; empty if there is no home.
std::string default_client_config();

}  // namespace wattle
