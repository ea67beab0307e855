#include "launch/wattle/client/client_options.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "common/config/config_file.h"
#include "common/error.h"

namespace wattle {
namespace {

void read_file(const std::string& path, ClientOptions& options) {
  Fields fields = fields_of(options);
  Diagnostics diagnostics;
  read_config(path, fields, {}, diagnostics);
  diagnostics.throw_if_errors();
  const auto folder = std::filesystem::path(path).parent_path();
  for (std::string* file : {&options.tls.ca, &options.tls.cert, &options.tls.key}) {
    if (!file->empty()) *file = (folder / *file).string();  // an absolute one stays
  }
}

void override_with(const std::string& value, std::string& option) {
  if (!value.empty()) option = value;
}

bool is_loopback(const std::string& server) {
  const std::string host = server.substr(0, server.rfind(':'));
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

void require_complete(const ClientOptions& options, const std::string& path) {
  if (options.insecure_loopback) {
    if (is_loopback(options.server)) return;
    throw Error(ErrorCode::kConfig,
                fmt::format("--insecure-loopback: \"{}\" is not on this machine; over a network "
                            "only mutual TLS is spoken",
                            options.server));
  }
  std::string missing;
  if (options.tls.ca.empty()) missing += " ca (--ca, WATTLE_CA)";
  if (options.tls.cert.empty()) missing += " cert (--cert, WATTLE_CERT)";
  if (options.tls.key.empty()) missing += " key (--key, WATTLE_KEY)";
  if (missing.empty()) return;
  throw Error(ErrorCode::kConfig,
              fmt::format("not given:{}. Put `server` and `tls: {{ca, cert, key}}` into {}; the "
                          "files come from the operator (wattle certs issue user)",
                          missing, path.empty() ? "client.yaml" : path));
}

}  // namespace

void ClientTls::describe(Fields& f) {
  f("ca", ca, "certificate of the site's authority");
  f("cert", cert, "the user's certificate");
  f("key", key, "its key");
}

void ClientOptions::describe(Fields& f) {
  f("server", server, "where wattled listens, host:port");
  f("tls", tls, "the user's side of mutual TLS");
  f("insecure_loopback", insecure_loopback,
    "no TLS: only to a daemon of the same mode on this machine");
  f("deadline_seconds", deadline_seconds, "how long to wait and try again for an answer")
      .unit("s")
      .greater_than(0)
      .at_most(3600);
}

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
    read_file(path, options);
  }
  override_with(overrides.server, options.server);
  override_with(overrides.ca, options.tls.ca);
  override_with(overrides.cert, options.tls.cert);
  override_with(overrides.key, options.tls.key);
  options.insecure_loopback |= overrides.insecure_loopback;
  if (overrides.deadline_seconds) options.deadline_seconds = *overrides.deadline_seconds;
  require_complete(options, path);
  return options;
}

}  // namespace wattle
