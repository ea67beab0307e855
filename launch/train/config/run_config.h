#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/config/config_file.h"
#include "common/job_spec.h"
#include "compression/compression_options.h"
#include "energy/energy_options.h"
#include "launch/train/config/export_options.h"
#include "launch/train/config/float_run.h"
#include "parallel/parallelism_options.h"
#include "trainer/checkpoint/checkpointer.h"
#include "trainer/data/data_options.h"
#include "trainer/models/model_options.h"
#include "trainer/state/optimizer/optimizer_options.h"
#include "trainer/train_options.h"

namespace wattle {

/// A run's YAML file: the sections of the folders, composed. No folder needs another's options.
struct RunConfig {
  RunOptions run;
  ModelOptions model;
  DataOptions data;
  TrainOptions train;
  EvaluateOptions evaluate;
  OptimizerOptions optimizer;
  ParallelismOptions parallelism;
  std::vector<CompressionEntry> compression;
  std::optional<FloatRunOptions> float_run;
  EnergyOptions energy;
  CheckpointOptions checkpoint;
  std::optional<TextSampleOptions> sample;
  std::vector<ExportOptions> exports;
  std::optional<JobSpec> job;
  void describe(Fields& f);
};

/// Reads a run's file with `--set` overrides. Throws Error(kConfig) with all that is wrong, a line
/// each; warnings are appended to `warnings`, and what the run reads besides to `inputs`, but for
/// what its own float run makes.
RunConfig read_run_config(const std::string& path, const std::vector<std::string>& overrides,
                          std::vector<std::string>& warnings,
                          std::vector<NamedInput>* inputs = nullptr);

/// Keys of which a file may give one, as ReadOptions has them.
std::vector<std::pair<std::string, std::string>> alternative_keys();

/// docs/CONFIG.md, generated from the code that reads the file.
std::string config_reference();

/// A phase of `compression` that lies past the last step and never comes, has no step to learn in,
/// or is over before what it compresses is exported.
struct LatePhase {
  std::string key;
  std::string message;
};
std::vector<LatePhase> late_phases(const RunConfig& config, int64_t steps);

}  // namespace wattle
