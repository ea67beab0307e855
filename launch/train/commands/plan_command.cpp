#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "compression/make_callbacks.h"
#include "energy/accounting/energy_monitor.h"
#include "energy/clock.h"
#include "launch/train/commands/commands.h"
#include "parallel/process_mesh.h"
#include "trainer/data/order/batch_plan.h"
#include "trainer/loop/energy/compute_rate.h"

namespace wattle {
namespace {

using Json = nlohmann::ordered_json;

/// The rank counts up to `most` that this file can run with.
std::vector<int> feasible_ranks(const RunConfig& config, int most) {
  std::vector<int> feasible;
  for (int ranks = 1; ranks <= most; ++ranks) {
    try {
      BatchPlan::of(config.train.global_batch, config.train.micro_batch, ranks);
      ProcessMesh(config.parallelism, ranks, 0);
      feasible.push_back(ranks);
    } catch (const Error&) {
      continue;  // this count does not divide the work; that is the answer asked for
    }
  }
  return feasible;
}

}  // namespace

int plan_command(const RunConfig& config, int ranks, bool json) {
  const ProcessMesh mesh(config.parallelism, ranks, 0);
  const BatchPlan batches =
      BatchPlan::of(config.train.global_batch, config.train.micro_batch, ranks);
  ShapedModel shaped = make_model(config);
  check_compression_targets(config.compression, shaped.model);
  RunConfig resolved = config;
  const int64_t parameters = shaped.model.parameter_count();
  const bool bf16 = config.train.precision == Precision::kBf16;
  const int64_t master = parameters * (config.train.precision == Precision::kFp64 ? 8 : 4);
  const int64_t states = config.optimizer.name == OptimizerName::kSgd ? 1 : 2;
  const int64_t sequence = config.data.has_sequences() ? config.data.sequence_length : 0;
  const double flops = training_flops(shaped.model, shaped.options, sequence) *
                       static_cast<double>(std::max<int64_t>(1, sequence) * batches.global_batch);
  const double rate = measure_matmul_rate(working_type(config.train.precision), at::kCPU);

  Json plan;
  plan["mesh"] = mesh.to_string();
  plan["feasible_ranks"] = feasible_ranks(config, 64);
  plan["parameters"] = parameters;
  plan["micro_batch"] = batches.micro_batch;
  plan["micro_batches_per_rank"] = batches.micro_batches() / ranks;
  plan["memory_per_rank_bytes"] = {{"parameters", master + (bf16 ? parameters * 2 : 0)},
                                   {"gradients", master},
                                   {"optimizer", master * states}};
  plan["collective_bytes_per_step"] = ranks > 1 ? master : 0;
  plan["pipeline_bubble"] = 0.0;
  if (flops > 0) {
    plan["step_flops"] = flops;
    plan["matmul_flops_per_s_per_rank"] = rate;
    plan["step_seconds_at_least"] = flops / (rate * ranks);
    plan["note"] =
        "step_seconds_at_least: the step's matrix products at the rate measured just now on this "
        "machine by this process alone; what lies between them is not in it";
  }
  if (json) {
    plan["resolved"] = write_config(fields_of(resolved));
    std::cout << plan.dump() << std::endl;
  } else {
    std::cout << write_config(fields_of(resolved)) << "\n";
    for (const auto& [key, value] : plan.items())
      std::cout << fmt::format("{:<28} {}\n", key, value.dump());
  }
  return kExitDone;
}

}  // namespace wattle
