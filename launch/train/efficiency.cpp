#include "launch/train/efficiency.h"

#include <algorithm>
#include <chrono>

#include "trainer/data/loader.h"
#include "trainer/loop/training_step.h"

namespace wattle {

OneRankTime measure_one_rank(const RunSession& session, const Dataset& dataset,
                             EnergyMonitor& energy) {
  const RunConfig& config = session.config;
  OneRankTime time;
  if (session.world.size() == 1 || config.train.efficiency_steps == 0) return time;
  const int rank = session.world.rank();
  const std::unique_ptr<Communicator> alone = session.world.split(rank == 0 ? 0 : 1, rank);
  if (rank == 0) {
    const std::unique_ptr<Communicator> one = alone->split(0, 0);
    Replica replica = make_replica(config, *one);
    FiguresExchange exchange(*one, at::kCPU);
    TrainingStep step({replica.model, *replica.parameters, *replica.reducer, *replica.optimizer,
                       exchange, energy, [] {}},
                      {config.run.seed, config.run.deterministic, config.train.grad_clip});
    // The micro-batches that the ranks together will have.
    const BatchPlan shared =
        BatchPlan::of(config.train.global_batch, config.train.micro_batch, session.world.size());
    const BatchPlan plan = BatchPlan::of(config.train.global_batch, shared.micro_batch, 1);
    Loader loader(dataset, plan, config.run.seed);
    std::vector<double> seconds;
    for (int64_t s = 0; s <= config.train.efficiency_steps; ++s) {
      const auto begin = std::chrono::steady_clock::now();
      step.run(
          {s, 0, plan.micro_batches(), plan.micro_batches(), nullptr},
          [&](int64_t i) { return loader.micro_batch(s, i); }, config.optimizer.lr, false);
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
      if (s > 0) seconds.push_back(passed.count());
    }
    std::ranges::sort(seconds);
    time = {config.train.efficiency_steps, seconds[seconds.size() / 2]};
  }
  session.world.barrier();
  return time;
}

}  // namespace wattle
