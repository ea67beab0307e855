#include "launch/train/float_first.h"

#include <fmt/format.h>

#include <iostream>

#include "common/run/metrics.h"
#include "compression/make_callbacks.h"
#include "launch/train/exports.h"
#include "launch/train/model_checks.h"
#include "trainer/loop/figures_exchange.h"

namespace wattle {
namespace {

/// Everything that the run itself would refuse, before the time of a whole run is spent.
void check_before(const RunSession& session) {
  const RunConfig& config = session.config;
  const ShapedModel shaped = make_model(config);
  const DataSource data =
      prepare_and_open(config, session.world, shaped.options, DataUse::kTrainAndEvaluate);
  const BatchPlan plan =
      BatchPlan::of(config.train.global_batch, config.train.micro_batch, session.world.size());
  check_with_model(config, steps_of(config.train, plan, *data.train), shaped.options, shaped.model);
  if (session.world.rank() == 0) check_export_places(config);
  check_compression_targets(config.compression, shaped.model);
  check_calibration(config.compression, calibration_set(*data.train, session.world));
}

/// The run itself goes on from what the float run gave it, which another one would not give again.
void check_is_there(const RunConfig& before, const RunConfig& after) {
  if (has_checkpoint(before.run.output_dir) || !has_checkpoint(after.run.output_dir)) return;
  throw Error(ErrorCode::kConfig,
              fmt::format("float_run: {} has checkpoints, but {} has none of the float run before "
                          "them; bring that folder along, or use another run.output_dir",
                          after.run.output_dir, before.run.output_dir));
}

/// What a run has used, as its metrics know it. Rank 0 reads, all get it.
double joules_of(const RunConfig& config, Communicator& world) {
  double joules = 0;
  if (world.rank() == 0) {
    for (const MetricsRecord& record : read_metrics(config.run.output_dir + "/metrics.jsonl")) {
      joules = std::max(joules, record.run_energy_joules.value_or(0));
    }
  }
  return FiguresExchange(world, at::kCPU).gather({&joules, 1}).front().front();
}

}  // namespace

int train_after_float_run(const RunSession& session,
                          const std::function<int(const RunSession& part)>& train) {
  check_before(session);
  const RunConfig before = config_of_float_run(session.config);
  RunConfig after = after_float_run(session.config);
  if (session.world.rank() == 0) check_is_there(before, after);
  const auto part = [&](const RunConfig& config) {
    return train({config, session.world, session.guard, session.init_from_given, session.json,
                  session.config.run.output_dir});
  };
  if (const int code = part(before); code != kExitDone) return code;
  if (after.energy.budget_joules) {
    const double used = joules_of(before, session.world);
    const double left = *after.energy.budget_joules - used;
    if (session.world.rank() == 0) {
      std::cerr << fmt::format("the float run used {:.0f} J of the budget of {:.0f} J\n", used,
                               *after.energy.budget_joules);
    }
    if (left <= 0) return kExitBudgetSpent;
    after.energy.budget_joules = left;
  }
  return part(after);
}

}  // namespace wattle
