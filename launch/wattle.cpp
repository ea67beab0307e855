// The operator's and the user's command. One file a sub-command, in wattle/.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>

#include "common/error.h"
#include "launch/wattle/certs/certs_command.h"
#include "launch/wattle/energy_command.h"

int main(int argc, char** argv) {
  CLI::App app("Wattle: training that knows what it costs in joules", "wattle");
  app.require_subcommand(1);
  int exit_code = wattle::kExitDone;
  wattle::add_energy_command(app, exit_code);
  wattle::add_certs_command(app);
  try {
    app.parse(argc, argv);
    return exit_code;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? wattle::kExitDone : wattle::kExitUsage;
  } catch (const wattle::Error& e) {
    fmt::print(stderr, "wattle: {}\n", e.what());
    return wattle::exit_code(e.code());
  } catch (const std::exception& e) {
    fmt::print(stderr, "wattle: {}\n", e.what());
    return wattle::kExitFailed;
  }
}
