#include "launch/train/config/float_run.h"

#include <algorithm>
#include <filesystem>

#include "launch/train/config/run_config.h"

namespace wattle {
namespace {

std::string folder_of(const RunConfig& config) {
  return std::filesystem::path(config.run.output_dir) / "float";
}

}  // namespace

void FloatRunOptions::describe(Fields& f) {
  f("set", set,
    "what the float run has otherwise: key=value each, as --set takes them (optimizer.lr=5.0e-5)");
}

RunConfig config_of_float_run(const RunConfig& config) {
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
  read_config_text(write_config(fields_of(without)), "float_run", fields,
                   {config.float_run->set, alternative_keys()}, diagnostics);
  diagnostics.throw_if_errors();
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
