#include "launch/wattle/run_wattle.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>

#include "common/error.h"
#include "launch/wattle/certs/certs_command.h"
#include "launch/wattle/commands/commands.h"
#include "launch/wattle/completion/completion.h"
#include "launch/wattle/energy_command.h"

namespace wattle {

void add_all_commands(CLI::App& wattle, int& exit_code) {
  wattle.require_subcommand(1);
  add_submit_command(wattle, exit_code);
  add_queue_commands(wattle);
  add_job_commands(wattle, exit_code);
  add_node_commands(wattle);
  add_limit_commands(wattle);
  add_report_command(wattle);
  add_certs_command(wattle);
  add_energy_command(wattle, exit_code);
  add_completion_command(wattle);
}

int run_wattle(std::vector<std::string> words) {
  CLI::App app("Wattle: training that knows what it costs in joules", "wattle");
  int code = kExitDone;
  add_all_commands(app, code);
  if (!words.empty()) words.erase(words.begin());
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(words));
    return code;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kExitDone : kExitUsage;
  } catch (const Error& e) {
    fmt::print(stderr, "wattle: {}\n", e.what());
    return exit_code(e.code());
  } catch (const std::exception& e) {
    fmt::print(stderr, "wattle: {}\n", e.what());
    return kExitFailed;
  }
}

}  // namespace wattle
