#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "launch/train/config/run_config.h"

namespace wattle {

/// Bytes that one rank holds, by what they are.
struct MemoryPlan {
  int64_t parameters = 0;   ///< masters, and the rounded copies that bf16 reads
  int64_t gradients = 0;    ///< with the partial sums of a deterministic reduction
  int64_t optimizer = 0;    ///< its state
  int64_t activations = 0;  ///< measured: the most that one micro-batch held
  int64_t total() const { return parameters + gradients + optimizer + activations; }
};

/// What the ranks exchange in every step.
struct Collective {
  std::string name;
  std::string operation;
  int64_t bytes = 0;  ///< that one rank gives
};

/// A step and the whole training, as a few steps of one rank on this machine foretell them.
struct Forecast {
  int64_t threads_per_rank = 1;
  int64_t probed_steps = 0;
  double step_seconds = 0;
  double one_rank_step_seconds = 0;  ///< one rank, with as many threads, doing the whole batch
  double power_watts = 0;            ///< all ranks and the idle power of their hosts; 0: unknown
  std::string energy_source;         ///< of the watts
};

/// What a run would be and need; nothing of it is trained.
struct RunPlan {
  std::string name;
  std::string kind;  ///< equal for runs that perform alike: family, size and a hash of the rest
  int ranks = 1;
  std::vector<int> rank_counts;  ///< that this file can run with
  std::string mesh;
  int64_t parameters = 0;
  int64_t steps = 0;
  int64_t float_run_steps = 0;  ///< of its float_run, which come before them
  int64_t global_batch = 0;
  int64_t micro_batch = 0;
  int64_t micro_batches_per_rank = 0;
  MemoryPlan memory;
  std::vector<Collective> collectives;
  double step_flops = 0;   ///< of matrix products; 0: unknown
  double matmul_rate = 0;  ///< operations a second of a rank, measured
  Forecast forecast;
};

/// Plans a run of `ranks` ranks; without a number, of job.ranks.min where the file has it, else of
/// the fewest that are feasible. Opens the data (texts are tokenised once, as training would),
/// builds the model and times a few steps of one micro-batch. Throws Error(kConfig) if the file
/// can't run so, and what the parts throw.
RunPlan make_run_plan(const RunConfig& config, std::optional<int> ranks);

/// As `wattle-train plan --json` prints it, see docs/PLAN.md.
nlohmann::ordered_json to_json(const RunPlan& plan);

}  // namespace wattle
