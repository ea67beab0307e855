#include "launch/wattle/client/client_options.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "common/error.h"

namespace wattle {
namespace {

void override_with(const std::string& value, std::string& option) {
  if (!value.empty()) option = value;
}

void require_complete(const ClientOptions& options, const std::string& path) {
  if (options.security.insecure_loopback) {
    if (scheduler::is_loopback(options.server)) return;
    throw Error(ErrorCode::kConfig,
                fmt::format("--insecure-loopback: \"{}\" is not on this machine; over a network "
                            "only mutual TLS is spoken",
                            options.server));
  }
  std::string missing;
  if (options.security.tls.ca.empty()) missing += " ca (--ca, WATTLE_CA)";
  if (options.security.tls.cert.empty()) missing += " cert (--cert, WATTLE_CERT)";
  if (options.security.tls.key.empty()) missing += " key (--key, WATTLE_KEY)";
  if (missing.empty()) return;
  throw Error(ErrorCode::kConfig,
              fmt::format("not given:{}. Put `server` and `tls: {{ca, cert, key}}` into {}; the "
                          "files come from the operator (wattle certs issue user)",
                          missing, path.empty() ? "client.yaml" : path));
}

}  // namespace

std::string default_client_config() {
  if (const char* xdg = std::getenv("XDG_CONFIG_HOME"); xdg && *xdg) {
    return std::string(xdg) + "/wattle/client.yaml";
  }
  const char* home = std::getenv("HOME");
  return home && *home ? std::string(home) + "/.config/wattle/client.yaml" : "";
}

ClientOptions resolve_client_options(const ClientOverrides& overrides) {
  ClientOptions options;
  const std::string path = overrides.config.empty() ? default_client_config() : overrides.config;
  if (!overrides.config.empty() || (!path.empty() && std::filesystem::exists(path))) {
    options = scheduler::read_client_options(path);
  }
  override_with(overrides.server, options.server);
  override_with(overrides.ca, options.security.tls.ca);
  override_with(overrides.cert, options.security.tls.cert);
  override_with(overrides.key, options.security.tls.key);
  options.security.insecure_loopback |= overrides.insecure_loopback;
  if (overrides.deadline_seconds) options.deadline_seconds = *overrides.deadline_seconds;
  require_complete(options, path);
  return options;
}

}  // namespace wattle
