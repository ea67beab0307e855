#pragma once

#include <string>

#include "scheduler/config/tls_files.h"

namespace wattle::scheduler {

/// client.yaml: where the daemon is and who asks. Environment variables and flags go over it
/// (docs/CLUSTER.md), so that nothing in it is required. Relative paths of `tls` start at the
/// file's folder.
struct ClientOptions {
  std::string server = "127.0.0.1:7443";
  LinkSecurity security;
  double deadline_seconds = 15;
  void describe(Fields& f);
};

/// Throws Error(kConfig) naming the file's line.
ClientOptions read_client_options(const std::string& path);

}  // namespace wattle::scheduler
