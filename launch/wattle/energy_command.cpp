#include "launch/wattle/energy_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/config/config_file.h"
#include "common/error.h"
#include "energy/limits/gpu_power_limits.h"
#include "launch/wattle/measured_command.h"

namespace wattle {
namespace {

struct EnergyArguments {
  EnergyOptions options;
  std::vector<std::string> command;
  std::string meter = "auto";
  bool json = false, verbose = false, restore = false, guard = false;
};

std::string json_of(const MeasuredCommand& measured) {
  const double joules = measured.joules.total();
  nlohmann::json json = {
      {"seconds", measured.seconds},     {"energy_source", measured.joules.label()},
      {"exit_code", measured.exit_code}, {"energy_joules", nullptr},
      {"power_watts", nullptr},          {"devices", nlohmann::json::array()}};
  if (joules > 0) {
    json["energy_joules"] = joules;
    json["power_watts"] = joules / measured.seconds;
  }
  for (const DeviceTotal& device : measured.devices) {
    json["devices"].push_back({{"device", device.device},
                               {"energy_source", label_of(device.known_source())},
                               {"energy_joules", device.joules},
                               {"gap_seconds", device.gap_seconds},
                               {"last_gap", device.last_gap}});
  }
  return json.dump();
}

std::string text_of(const MeasuredCommand& measured, bool verbose) {
  std::string text;
  if (verbose) {
    for (const std::string& note : measured.notes) text += fmt::format("  {}\n", note);
  }
  text += fmt::format("{:.3f} s", measured.seconds);
  for (size_t i = 0; i < kSourceCount; ++i) {
    const Source source = static_cast<Source>(i);
    const double joules = measured.joules[source];
    if (joules <= 0) continue;
    text += fmt::format("  {:.1f} J  {:.1f} W ({})", joules, joules / measured.seconds,
                        label_of(source));
  }
  if (measured.joules.total() <= 0) text += "  energy unavailable";
  for (const DeviceTotal& device : measured.devices) {
    if (device.gaps == 0) continue;
    text += fmt::format("\n  {}: no reading for {:.1f} s: {}", device.device, device.gap_seconds,
                        device.last_gap);
  }
  return text + "\n";
}

int restore_limits() {
  const Nvml nvml;
  const auto lines = restore_left_limits(nvml, nvml.devices());
  for (const std::string& line : lines) fmt::print(stderr, "{}\n", line);
  if (lines.empty()) fmt::print(stderr, "no power limit was left changed\n");
  return kExitDone;
}

/// Waits for the end of the process that holds the other end of standard input. Its descriptors
/// close a little before the system counts it as ended.
int guard_limits() {
  char ignored = 0;
  while (read(STDIN_FILENO, &ignored, 1) > 0) {
  }
  const Nvml nvml;
  for (int attempt = 0; attempt < 20; ++attempt) {
    for (const std::string& line : restore_left_limits(nvml, nvml.devices())) {
      fmt::print(stderr, "{}\n", line);
    }
    if (!has_limit_notes(nvml.devices())) break;
    usleep(100000);
  }
  return kExitDone;
}

/// The options behind the arguments, checked like the section `energy:` of a file.
EnergyOptions options_of(const EnergyArguments& arguments) {
  const std::map<std::string, MeterKind> kinds = {{"auto", MeterKind::kAuto},
                                                  {"nvml", MeterKind::kNvml},
                                                  {"rapl", MeterKind::kRapl},
                                                  {"model", MeterKind::kModel},
                                                  {"trace", MeterKind::kTrace}};
  EnergyOptions options = arguments.options;
  options.meter = kinds.at(arguments.meter);
  if (options.meter == MeterKind::kTrace && options.trace_path.empty()) {
    throw Error(ErrorCode::kConfig, "--meter trace needs --trace FILE");
  }
  if (options.meter != MeterKind::kTrace && !options.trace_path.empty()) {
    throw Error(ErrorCode::kConfig, "--trace is read only with --meter trace");
  }
  EnergyOptions checked;
  Fields fields = fields_of(checked);
  Diagnostics diagnostics;
  read_config_text(write_config(fields_of(options)), "wattle energy", fields, {}, diagnostics);
  diagnostics.throw_if_errors();
  return checked;
}

int run(const EnergyArguments& arguments) {
  if (arguments.guard) return guard_limits();
  if (arguments.restore) return restore_limits();
  if (arguments.command.empty()) {
    throw Error(ErrorCode::kConfig, "expected a command, as in: wattle energy -- sleep 1");
  }
  const MeasuredCommand measured = run_measured(arguments.command, options_of(arguments));
  if (arguments.json) {
    fmt::print("{}\n", json_of(measured));
  } else {
    fmt::print(stderr, "wattle energy: {}", text_of(measured, arguments.verbose));
  }
  return measured.exit_code;
}

}  // namespace

void add_energy_command(CLI::App& wattle, int& exit_code) {
  CLI::App* energy = wattle.add_subcommand("energy", "run a command and tell what energy it used");
  const auto arguments = std::make_shared<EnergyArguments>();
  EnergyOptions& options = arguments->options;
  energy->add_option("--meter", arguments->meter, "where joules come from")
      ->check(CLI::IsMember({"auto", "nvml", "rapl", "model", "trace"}));
  energy->add_option("--trace", options.trace_path, "power curve to replay, with --meter trace");
  energy->add_option("--idle-watts", options.idle_watts, "of the host, for the model")
      ->check(CLI::NonNegativeNumber);
  energy->add_option("--max-watts", options.max_watts, "of the host, for the model")
      ->check(CLI::PositiveNumber);
  energy->add_flag("--json", arguments->json,
                   "one object as the last line of standard output instead of text");
  energy->add_flag("--verbose", arguments->verbose, "which meters were found, and why not others");
  energy->add_flag("--restore", arguments->restore,
                   "give GPUs back the power limits that ended programs left changed");
  energy->add_flag("--guard", arguments->guard)->group("");
  energy->add_option("command", arguments->command, "what to run, with its arguments, after --");
  energy->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace wattle
