#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "common/error.h"
#include "scheduler/daemon/daemon.h"
#include "scheduler/daemon/journal/verify.h"
#include "scheduler/daemon/listening/open_files.h"
#include "scheduler/daemon/server.h"
#include "scheduler/daemon/steady_clock.h"

namespace wattle::scheduler {
namespace {

/// The signal. Throws Error when the daemon can't go on without a new start.
int wait_for_end(const sigset_t& signals, const Daemon& daemon, const Server& server) {
  const timespec rest{0, 200'000'000};
  while (true) {
    const int signal = sigtimedwait(&signals, nullptr, &rest);
    if (signal > 0) return signal;
    daemon.core().require_running();
    server.require_listening();
  }
}

/// Serves until SIGINT or SIGTERM.
void serve(const ClusterOptions& options) {
  raise_open_files();
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // every thread inherits it; this one waits
  SteadyClock clock;
  Daemon daemon(
      options, [&clock] { return clock.now(); }, SteadyClock::machine_seconds);
  Server server(daemon);
  spdlog::info("listening on port {}, metrics on port {}, state in {}", server.port(),
               server.metrics_port(), options.state_dir);
  const int signal = wait_for_end(signals, daemon, server);
  spdlog::info("signal {}: the daemon stops, jobs go on", signal);
}

/// Throws if anything differs.
void verify(const std::string& state_dir) {
  const JournalCheck check =
      verify_journal(state_dir, [](const std::string& line) { std::cout << line << std::endl; });
  std::cout << fmt::format(
                   "{} records decided the same again, {} plans were made the same again, {} "
                   "states reached the same again",
                   check.records, check.plans, check.states)
            << std::endl;
  if (check.others > 0) {
    std::cout << fmt::format("{} records can be checked by the wattled that wrote them alone",
                             check.others)
              << std::endl;
  }
}

int run(int argc, char** argv) {
  CLI::App app("Wattle's scheduler: places jobs by watts, devices and joules", "wattled");
  std::string path;
  std::vector<std::string> overrides;
  std::string journal;
  auto* file = app.add_option("cluster.yaml", path, "the cluster file (docs/CONFIG.md)");
  app.add_option("--set", overrides, "a.b=c: overrides a key of the file");
  app.add_option("--verify-journal", journal,
                 "STATE_DIR: replay what is kept of its journal and compare all bytes; 0 = the "
                 "same, 1 = not; a daemon may work there meanwhile")
      ->excludes(file);
  try {
    app.parse(argc, argv);
    if (path.empty() && journal.empty()) throw CLI::RequiredError("cluster.yaml");
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? kExitDone : kExitUsage;
  }
  try {
    if (journal.empty()) {
      serve(read_cluster_options(path, overrides));
    } else {
      verify(journal);
    }
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
