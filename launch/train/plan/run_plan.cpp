#include "launch/train/plan/run_plan.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "compression/make_callbacks.h"
#include "launch/train/config/float_run.h"
#include "launch/train/model_checks.h"
#include "launch/train/plan/step_probe.h"
#include "parallel/communicators/threads/thread_communicator.h"
#include "parallel/process_mesh.h"
#include "parallel/reducers/deterministic/micro_batch_tree.h"
#include "parallel/threads.h"
#include "trainer/loop/energy/compute_rate.h"

namespace wattle {
namespace {

using Json = nlohmann::ordered_json;

bool is_feasible(const RunConfig& config, int ranks) {
  try {
    BatchPlan::of(config.train.global_batch, config.train.micro_batch, ranks);
    ProcessMesh(config.parallelism, ranks, 0);
    return true;
  } catch (const Error&) {
    return false;  // this count does not divide the work; that is the answer asked for
  }
}

/// A rank has at least one sample of each batch.
std::vector<int> feasible_ranks(const RunConfig& config) {
  std::vector<int> feasible;
  for (int ranks = 1; ranks <= config.train.global_batch; ++ranks) {
    if (is_feasible(config, ranks)) feasible.push_back(ranks);
  }
  return feasible;
}

int ranks_to_plan(const RunConfig& config, std::optional<int> asked,
                  const std::vector<int>& feasible) {
  if (asked) return *asked;
  if (config.job) return static_cast<int>(config.job->ranks.min);
  return feasible.empty() ? 1 : feasible.front();
}

std::string kind_of(const RunConfig& config, const Replica& replica) {
  ModelOptions shape = replica.options;
  shape.init_from.reset();  // where the first weights come from changes no step
  RunConfig copy = config;
  std::string text = write_config(fields_of(shape)) + write_config(fields_of(copy.parallelism));
  for (CompressionEntry& entry : copy.compression) text += write_config(fields_of(entry));
  text += fmt::format(
      "{} {} {} {} {} {}", config.train.global_batch, config.train.micro_batch.value_or(0),
      static_cast<int>(config.train.precision), static_cast<int>(config.optimizer.name),
      config.run.deterministic, config.data.has_sequences() ? config.data.sequence_length : 0);
  return fmt::format("{}-{:.3g}M-{:016x}", name_of(replica.options.family),
                     static_cast<double>(replica.model.parameter_count()) / 1e6,
                     XXH3_64bits(text.data(), text.size()));
}

int64_t bytes_of(at::ScalarType type) { return static_cast<int64_t>(c10::elementSize(type)); }

/// The partial sums that a deterministic reduction holds besides the gradients themselves.
int64_t partial_sums(const RunConfig& config, const BatchPlan& batches) {
  if (!config.run.deterministic) return 0;
  int slots = 0;
  for (int rank = 0; rank < batches.ranks; ++rank) {
    const IndexRange mine = batches.micro_batches_of(rank);
    slots = std::max(slots, blocks_of({mine.first, mine.count}, batches.micro_batches()).slots);
  }
  return slots;
}

MemoryPlan memory_of(const RunConfig& config, int64_t parameters, const BatchPlan& batches) {
  const int64_t master = parameters * bytes_of(master_type(config.train.precision));
  const bool rounded = config.train.precision == Precision::kBf16;
  MemoryPlan memory;
  memory.parameters = master + (rounded ? parameters * bytes_of(at::kBFloat16) : 0);
  memory.gradients = master * (1 + partial_sums(config, batches));
  memory.optimizer = master * (config.optimizer.name == OptimizerName::kSgd ? 1 : 2);
  return memory;
}

std::vector<Collective> collectives_of(const RunConfig& config, const Model& model,
                                       const BatchPlan& batches) {
  if (batches.ranks == 1) return {};
  const int64_t mine = batches.micro_batches() / batches.ranks;
  std::vector<Collective> collectives = {
      {"gradients", "all_reduce",
       model.parameter_count() * bytes_of(master_type(config.train.precision))},
      {"losses", "all_gather", (mine + 1) * bytes_of(at::kDouble)}};
  int64_t statistics = 0;
  for (const Buffer& buffer : model.buffers) statistics += buffer.value.numel();
  if (statistics > 0) {
    collectives.push_back(
        {"batch statistics", "all_gather", mine * statistics * bytes_of(at::kDouble)});
  }
  return collectives;
}

/// Threads that a rank has where `ranks` share the cores that this process may use.
int64_t threads_for(const RunConfig& config, int ranks) {
  if (config.run.threads > 0) return config.run.threads;
  if (config.run.deterministic) return 1;
  return std::max<int64_t>(1, static_cast<int64_t>(affinity_mask().size()) / ranks);
}

/// What the ranks' exchange costs: each reads the others' gradients and writes the sum, at the rate
/// at which this host copies.
double exchange_seconds(const RunPlan& plan, const ProbedStep& probed) {
  int64_t bytes = 0;
  for (const Collective& collective : plan.collectives) bytes += collective.bytes;
  return 2 * static_cast<double>(bytes) / probed.copied_bytes_per_s;
}

Forecast forecast_of(const RunPlan& plan, const ProbedStep& probed, int64_t threads) {
  Forecast forecast;
  forecast.threads_per_rank = threads;
  forecast.probed_steps = probed.steps;
  const auto micro_batches = static_cast<double>(plan.micro_batches_per_rank);
  forecast.step_seconds = micro_batches * probed.micro_batch_seconds + probed.update_seconds +
                          exchange_seconds(plan, probed);
  forecast.one_rank_step_seconds =
      plan.ranks * micro_batches * probed.micro_batch_seconds + probed.update_seconds;
  const auto cores = static_cast<int64_t>(affinity_mask().size());
  const double hosts = std::ceil(static_cast<double>(plan.ranks * threads) / cores);
  const double work_watts = std::max(0.0, probed.power_watts - probed.idle_watts);
  if (probed.power_watts > 0) {
    forecast.power_watts = hosts * probed.idle_watts + plan.ranks * work_watts;
  }
  forecast.energy_source = probed.energy_source;
  return forecast;
}

/// All that needs the data and the model in memory, on one rank.
void fill(RunPlan& plan, const RunConfig& config, const BatchPlan& batches, Communicator& alone) {
  const DataSource data =
      prepare_and_open(config, alone, shape_of_model(config), DataUse::kTrainAndEvaluate);
  const int64_t threads = threads_for(config, plan.ranks);
  set_threads(alone, {.threads = threads});
  Replica replica = make_replica(config, alone);
  check_compression_targets(config.compression, replica.model);
  plan.steps = steps_of(config.train, batches, *data.train);
  if (config.float_run) {
    const TrainOptions first = config_of_float_run(config).train;
    plan.float_run_steps = steps_of(
        first, BatchPlan::of(first.global_batch, first.micro_batch, plan.ranks), *data.train);
  }
  check_with_model(config, plan.steps, replica.options, replica.model);
  plan.kind = kind_of(config, replica);
  plan.parameters = replica.model.parameter_count();
  plan.collectives = collectives_of(config, replica.model, batches);
  const int64_t sequence = config.data.has_sequences() ? config.data.sequence_length : 0;
  plan.step_flops = training_flops(replica.model, replica.options, sequence) *
                    static_cast<double>(std::max<int64_t>(1, sequence) * batches.global_batch);
  plan.matmul_rate = measure_matmul_rate(working_type(config.train.precision), at::kCPU);
  const ProbedStep probed = probe_step(config, alone, replica, *data.train, batches.micro_batch);
  plan.memory = memory_of(config, plan.parameters, batches);
  plan.memory.activations = probed.activation_bytes;
  plan.forecast = forecast_of(plan, probed, threads);
}

Json memory_json(const MemoryPlan& memory) {
  return {{"parameters", memory.parameters},
          {"gradients", memory.gradients},
          {"optimizer", memory.optimizer},
          {"activations", memory.activations},
          {"total", memory.total()}};
}

/// Nothing where it is unknown.
Json known(double value) { return value > 0 ? Json(value) : Json(nullptr); }

Json forecast_json(const RunPlan& plan) {
  const Forecast& forecast = plan.forecast;
  const double seconds = forecast.step_seconds;
  const double joules = seconds * forecast.power_watts;
  const auto steps = static_cast<double>(plan.steps);
  return {{"source", "estimated:probe"},
          {"probed_steps", forecast.probed_steps},
          {"threads_per_rank", forecast.threads_per_rank},
          {"step_seconds", seconds},
          {"steps_per_s", 1 / seconds},
          {"one_rank_steps_per_s", 1 / forecast.one_rank_step_seconds},
          {"power_watts", known(forecast.power_watts)},
          {"power_source", forecast.energy_source},
          {"step_joules", known(joules)},
          {"run_seconds", steps * seconds},
          {"run_joules", known(steps * joules)},
          {"includes",
           "training steps: data, forward, backward, update, and the exchange at this host's rate "
           "of memory copies; idle power of the hosts once each"},
          {"leaves_out",
           "the float run that comes first where there is one; start-up, evaluations, checkpoints, "
           "sample and exports; what compression adds to a step; "
           "what ranks of one host take from each other, and links between hosts"}};
}

}  // namespace

RunPlan make_run_plan(const RunConfig& config, std::optional<int> ranks) {
  RunPlan plan;
  plan.name = config.run.name;
  plan.rank_counts = feasible_ranks(config);
  plan.ranks = ranks_to_plan(config, ranks, plan.rank_counts);
  plan.mesh = ProcessMesh(config.parallelism, plan.ranks, 0).to_string();
  const BatchPlan batches =
      BatchPlan::of(config.train.global_batch, config.train.micro_batch, plan.ranks);
  plan.global_batch = batches.global_batch;
  plan.micro_batch = batches.micro_batch;
  plan.micro_batches_per_rank = batches.micro_batches() / plan.ranks;
  run_as_threads(1, [&](Communicator& alone) { fill(plan, config, batches, alone); });
  return plan;
}

Json to_json(const RunPlan& plan) {
  Json collectives = Json::array();
  for (const Collective& c : plan.collectives) {
    collectives.push_back({{"name", c.name}, {"operation", c.operation}, {"bytes", c.bytes}});
  }
  Json json = {{"name", plan.name},
               {"kind", plan.kind},
               {"ranks", plan.ranks},
               {"rank_counts", plan.rank_counts},
               {"steps", plan.steps},
               {"float_run_steps", plan.float_run_steps},
               {"mesh", plan.mesh},
               {"parameters", plan.parameters},
               {"global_batch", plan.global_batch},
               {"micro_batch", plan.micro_batch},
               {"micro_batches_per_rank", plan.micro_batches_per_rank},
               {"memory_per_rank_bytes", memory_json(plan.memory)},
               {"collectives_per_step", std::move(collectives)},
               {"pipeline_bubble", 0.0}};  // there is no pipeline in this version
  if (plan.step_flops > 0) {
    json["step_flops"] = plan.step_flops;
    json["matmul_flops_per_s_per_rank"] = plan.matmul_rate;
  }
  json["predicted"] = forecast_json(plan);
  return json;
}

}  // namespace wattle
