#include "launch/train/plan/step_probe.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <array>

#include "energy/clock.h"
#include "launch/train/plan/tensor_memory.h"
#include "trainer/data/loader.h"
#include "trainer/loop/training_step.h"

namespace wattle {
namespace {

constexpr double kTimedSeconds = 0.5;
constexpr double kLongStepSeconds = 2;
constexpr int64_t kCopiedNumel = 16 << 20;  // of float32: more than the caches hold

double seconds_of(const EnergyLedger& ledger, std::initializer_list<Phase> phases) {
  double seconds = 0;
  for (const Phase phase : phases) seconds += ledger.phase(phase).seconds;
  return seconds;
}

/// The best of a few copies.
double measure_copy_rate(Clock& clock) {
  const at::Tensor from = at::ones({kCopiedNumel});
  at::Tensor to = at::empty_like(from);
  double best = 0;
  for (int i = 0; i < 4; ++i) {
    const double begin = clock.now_seconds();
    to.copy_(from);
    best = std::max(best, static_cast<double>(from.nbytes()) / (clock.now_seconds() - begin));
  }
  return best;
}

/// The ledgers before and after the timed steps.
struct Timed {
  int64_t steps = 0;
  EnergyLedger before, after;
};

Timed time_steps(const std::function<void(int64_t)>& step, EnergyMonitor& energy, Clock& clock) {
  Timed timed{0, energy.ledger(), {}};
  const double began = clock.now_seconds();
  step(0);
  const bool long_step = clock.now_seconds() - began > kLongStepSeconds;
  if (!long_step) timed.before = energy.ledger();
  timed.steps = long_step ? 1 : 0;
  const double timing = clock.now_seconds();
  while (timed.steps == 0 || (!long_step && clock.now_seconds() - timing < kTimedSeconds)) {
    step(++timed.steps);
  }
  timed.after = energy.ledger();
  return timed;
}

}  // namespace

ProbedStep probe_step(const RunConfig& config, Communicator& alone, Replica& replica,
                      const Dataset& dataset, int64_t micro_batch) {
  SteadyClock clock;
  EnergyMonitor energy(config.energy, clock);
  FiguresExchange exchange(alone, at::kCPU);
  TrainingStep step({replica.model, *replica.parameters, *replica.reducer, *replica.optimizer,
                     exchange, energy, [] {}},
                    {config.run.seed, config.run.deterministic, config.train.grad_clip});
  Loader loader(dataset, BatchPlan::of(micro_batch, micro_batch, 1), config.run.seed);
  const TensorMemory memory;
  const auto run = [&](int64_t s) {
    step.run(
        {s, 0, 1, 1, nullptr}, [&](int64_t i) { return loader.micro_batch(s, i); }, 0.0, false);
  };
  const Timed timed = time_steps(run, energy, clock);

  const auto seconds = [&timed](std::initializer_list<Phase> phases) {
    return seconds_of(timed.after, phases) - seconds_of(timed.before, phases);
  };
  const double steps = static_cast<double>(timed.steps);
  ProbedStep probed;
  probed.steps = timed.steps;
  probed.micro_batch_seconds = seconds({Phase::kData, Phase::kForward, Phase::kBackward}) / steps;
  probed.update_seconds =
      seconds({Phase::kCommunication, Phase::kOptimizer, Phase::kOther}) / steps;
  probed.activation_bytes = memory.peak_bytes();  // before the copies, which are tensors as well
  probed.copied_bytes_per_s = measure_copy_rate(clock);
  const double all_seconds = timed.after.run().seconds - timed.before.run().seconds;
  const double joules = timed.after.run().joules.total() - timed.before.run().joules.total();
  probed.power_watts = all_seconds > 0 ? joules / all_seconds : 0;
  probed.idle_watts = energy.idle_watts();
  probed.energy_source = energy.source_label();
  return probed;
}

}  // namespace wattle
