#include <c10/util/Exception.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <sstream>

#include "common/error.h"
#include "launch/train/commands/commands.h"
#include "launch/train/early_error.h"
#include "parallel/communicators/make_communicator.h"
#include "parallel/communicators/mpi/mpi_session.h"
#include "parallel/process_mesh.h"
#include "trainer/nn/memory.h"

namespace wattle {
namespace {

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
  std::optional<int> ranks;
  bool json = false;
  std::string command = "train";
};

void add_run_arguments(CLI::App& app, Arguments& arguments) {
  app.add_option("config", arguments.config, "the run's YAML file");
  app.add_option("--set", arguments.overrides, "override a key: a.b=c")->allow_extra_args(false);
}

int run(int argc, char** argv, const RunConfig& config, const Arguments& arguments) {
  MpiSession mpi(argc, argv);
  FailureGuard guard(mpi);
  return guard.run(arguments.command, [&] {
    const auto world = make_communicator(config.parallelism.backend, mpi, at::kCPU);
    const ProcessMesh mesh(config.parallelism, world->size(), world->rank());
    const bool init_from_given = std::ranges::any_of(
        arguments.overrides, [](const auto& o) { return o.starts_with("model.init_from="); });
    keep_freed_memory();
    const RunSession session{config, *world, guard, init_from_given, arguments.json};
    if (arguments.command == "eval") return eval_command(session);

    if (arguments.command == "export") return export_command(session);
    return train_command(session);
  });
}

void add_subcommands(CLI::App& app, Arguments& arguments) {
  struct Sub {
    const char* name;
    const char* help;
  };
  for (const Sub& sub :
       {Sub{"plan", "resolved configuration, memory and predicted time; trains nothing"},
        Sub{"eval", "evaluate a model"}, Sub{"export", "write a model for other programs"}}) {
    CLI::App* command = app.add_subcommand(sub.name, sub.help);
    add_run_arguments(*command, arguments);
    command->add_flag("--json", arguments.json, "one JSON object on standard output");
    if (std::string(sub.name) == "plan") {
      command->add_option("--ranks", arguments.ranks, "number of ranks")
          ->check(CLI::PositiveNumber);
    }
    command->callback([&arguments, sub] { arguments.command = sub.name; });
  }
}

/// The exit code where there is nothing more to do.
std::optional<int> parse(CLI::App& app, int argc, char** argv, const Arguments& arguments) {
  try {
    app.parse(argc, argv);
    if (arguments.config.empty()) throw CLI::RequiredError("config: the run's YAML file");
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    std::ostringstream usage;
    app.exit(e, usage, usage);
    say_early_error(usage.str());
    return kExitUsage;
  }
  return std::nullopt;
}

int run_program(int argc, char** argv) {
  hold_stop_requests();
  Arguments arguments;
  CLI::App app("Trains, evaluates and exports models from one YAML file, under mpirun or alone.");
  add_run_arguments(app, arguments);
  app.add_flag_callback(
      "--reference",
      [] {
        std::cout << config_reference();
        throw CLI::Success();
      },
      "print the reference of all keys (docs/CONFIG.md)");
  add_subcommands(app, arguments);
  if (const auto code = parse(app, argc, argv, arguments)) return *code;
  if (arguments.command == "plan") {
    return plan_command({arguments.config, arguments.overrides, arguments.ranks, arguments.json});
  }
  std::vector<std::string> warnings;
  const RunConfig config = read_run_config(arguments.config, arguments.overrides, warnings);
  if (is_first_rank()) {
    for (const std::string& warning : warnings) std::cerr << "warning: " << warning << '\n';
  }
  return run(argc, argv, config, arguments);
}

}  // namespace
}  // namespace wattle

int main(int argc, char** argv) {
  try {
    return wattle::run_program(argc, argv);
  } catch (const wattle::Error& e) {
    wattle::say_early_error(e.what());
    return wattle::exit_code(e.code());
  } catch (const c10::Error& e) {
    wattle::say_early_error(std::string("wattle-train: ") + e.what_without_backtrace());
    return wattle::kExitFailed;
  } catch (const std::exception& e) {
    wattle::say_early_error(std::string("wattle-train: ") + e.what());
    return wattle::kExitFailed;
  }
}
