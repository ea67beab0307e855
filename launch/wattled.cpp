#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>

#include "common/error.h"
#include "scheduler/daemon/daemon.h"
#include "scheduler/daemon/server.h"

namespace wattle::scheduler {
namespace {

double seconds_since_1970() {
  using namespace std::chrono;
  return duration<double>(system_clock::now().time_since_epoch()).count();
}

/// Serves until SIGINT or SIGTERM.
void serve(const ClusterOptions& options) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // every thread inherits it; this one waits
  Daemon daemon(options, seconds_since_1970);
  Server server(daemon);
  spdlog::info("listening on port {}, metrics on port {}, state in {}", server.port(),
               server.metrics_port(), options.state_dir);
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("signal {}: the daemon stops, jobs go on", signal);
}

int run(int argc, char** argv) {
  CLI::App app("Wattle's scheduler: places jobs by watts, devices and joules", "wattled");
  std::string path;
  std::vector<std::string> overrides;
  app.add_option("cluster.yaml", path, "the cluster file (docs/CONFIG.md)")->required();
  app.add_option("--set", overrides, "a.b=c: overrides a key of the file");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? kExitDone : kExitUsage;
  }
  try {
    serve(read_cluster_options(path, overrides));
    return kExitDone;
  } catch (const Error& e) {
    std::cerr << "wattled: " << e.what() << std::endl;
    return exit_code(e.code());
  } catch (const std::exception& e) {
    std::cerr << "wattled: " << e.what() << std::endl;
    return kExitFailed;
  }
}

}  // namespace
}  // namespace wattle::scheduler

int main(int argc, char** argv) { return wattle::scheduler::run(argc, argv); }
