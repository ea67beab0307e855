#include "scheduler/config/client_options.h"

#include <filesystem>

#include "common/config/config_file.h"

namespace wattle::scheduler {

void ClientOptions::describe(Fields& f) {
  f("server", server, "HOST:PORT where wattled listens");
  f("tls", security.tls, "the user's side of mutual TLS; paths start at this file's folder");
  f("insecure_loopback", security.insecure_loopback,
    "no TLS: only to a daemon of the same mode on this machine");
  f("deadline_seconds", deadline_seconds, "how long to wait and try again for an answer")
      .unit("s")
      .greater_than(0)
      .at_most(3600);
}

ClientOptions read_client_options(const std::string& path) {
  ClientOptions options;
  Fields fields = fields_of(options);
  Diagnostics diagnostics;
  read_config(path, fields, {}, diagnostics);
  diagnostics.throw_if_errors();
  const auto folder = std::filesystem::path(path).parent_path();
  TlsFiles& tls = options.security.tls;
  for (std::string* file : {&tls.ca, &tls.cert, &tls.key}) {
    if (!file->empty()) *file = (folder / *file).string();  // an absolute one stays
  }
  return options;
}

}  // namespace wattle::scheduler
