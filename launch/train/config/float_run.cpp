#include "launch/train/config/float_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "common/error.h"
#include "common/paths.h"
#include "launch/train/config/run_config.h"

namespace wattle {
namespace {

std::string folder_of(const RunConfig& config) {
  return std::filesystem::path(config.run.output_dir) / "float";
}

/// What float_run.set may not have: it is what makes the two runs a pair, or nothing reads it.
void check_is_the_first(RunConfig& changed, RunConfig& without) {
  std::string lines;
  const auto require = [&lines](bool holds, const std::string& message) {
    if (!holds) lines += fmt::format("{}float_run.set: {}", lines.empty() ? "" : "\n", message);
  };
  require(changed.run.output_dir == without.run.output_dir,
          fmt::format("run.output_dir is {}, expected {}, where the run itself looks for it",
                      changed.run.output_dir, without.run.output_dir));
  require(changed.compression.empty(), "compression is given, expected a run in float");
  require(!changed.job, "job is given, but both runs are one job");
  require(
      write_config(fields_of(changed.parallelism)) == write_config(fields_of(without.parallelism)),
      "parallelism is changed, but both runs are on the same ranks");
  if (!lines.empty()) throw Error(ErrorCode::kConfig, lines);
}

}  // namespace

void FloatRunOptions::describe(Fields& f) {
  f("set", set,
    "what the float run has otherwise: key=value each, as --set takes them (optimizer.lr=5.0e-5)");
}

namespace {

/// What `float_run.set` names is read as well, what the float run makes needs not be there before.
void add_inputs(const RunConfig& config, const std::vector<NamedInput>& of_float_run,
                std::vector<NamedInput>& inputs) {
  std::erase_if(inputs, [&config](const NamedInput& input) {
    return is_below(input.path, folder_of(config));
  });
  for (const NamedInput& input : of_float_run) {
    const bool is_set = input.place.starts_with("--set");
    if (is_set) inputs.push_back({"float_run.set", input.key, input.path});
  }
}

}  // namespace

RunConfig config_of_float_run(const RunConfig& config, std::vector<NamedInput>* inputs) {
  RunConfig without = config;
  without.compression.clear();
  without.exports.clear();
  without.sample.reset();
  without.job.reset();
  without.float_run.reset();
  without.evaluate.integers = false;
  without.evaluate.predictions.reset();
  without.run.name += "-float";
  without.run.output_dir = folder_of(config);
  RunConfig changed;
  Fields fields = fields_of(changed);
  Diagnostics diagnostics;
  const std::vector<NamedInput> named =
      read_config_text(write_config(fields_of(without)), "float_run", fields,
                       {config.float_run->set, alternative_keys()}, diagnostics)
          .inputs;
  diagnostics.throw_if_errors();
  check_is_the_first(changed, without);
  if (inputs) add_inputs(config, named, *inputs);
  return changed;
}

RunConfig after_float_run(RunConfig config) {
  const std::string folder = folder_of(config);
  bool is_named = std::ranges::any_of(config.compression, [](const CompressionEntry& entry) {
    return entry.quantize && entry.quantize->float_run;
  });
  for (CompressionEntry& entry : config.compression) {
    if (entry.distil && !entry.distil->teacher) entry.distil->teacher = folder;
    if (!entry.quantize || is_named) continue;
    entry.quantize->float_run = folder;
    is_named = true;
  }
  return config;
}

}  // namespace wattle
