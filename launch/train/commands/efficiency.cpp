#include "launch/train/commands/efficiency.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "trainer/data/loader.h"
#include "trainer/loop/training_step.h"

namespace wattle {

namespace {

/// They allocate, and choose kernels.
constexpr int64_t kUntimedSteps = 2;

/// Lets the other ranks of the host sleep until the first is done: waiting in MPI spins, and would
/// take from the rank that is timed.
class QuietWait {
 public:
  explicit QuietWait(Communicator& world) : world_(world), memory_(world.share(sizeof(int))) {}

  void done() {
    if (memory_) flag().store(1, std::memory_order_release);
    world_.barrier();
  }
  void wait() {
    while (memory_ && flag().load(std::memory_order_acquire) == 0) {
      memory_->check_peers();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    world_.barrier();  // between hosts, where no memory is shared, all of the wait
  }

 private:
  std::atomic_ref<int> flag() {
    return std::atomic_ref<int>(*reinterpret_cast<int*>(memory_->part(0).data()));
  }

  Communicator& world_;
  std::unique_ptr<SharedMemory> memory_;
};

}  // namespace

OneRankTime measure_one_rank(const RunSession& session, const Dataset& dataset,
                             EnergyMonitor& energy) {
  const RunConfig& config = session.config;
  OneRankTime time;
  if (session.world.size() == 1 || config.train.efficiency_steps == 0) return time;
  const int rank = session.world.rank();
  const std::unique_ptr<Communicator> alone = session.world.split(rank == 0 ? 0 : 1, rank);
  QuietWait others(session.world);
  if (rank != 0) {
    others.wait();
  } else {
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
    for (int64_t s = 0; s < config.train.efficiency_steps + kUntimedSteps; ++s) {
      const auto begin = std::chrono::steady_clock::now();
      step.run(
          {s, 0, plan.micro_batches(), plan.micro_batches(), nullptr},
          [&](int64_t i) { return loader.micro_batch(s, i); }, config.optimizer.lr, false);
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
      if (s >= kUntimedSteps) seconds.push_back(passed.count());
    }
    std::ranges::sort(seconds);
    time = {config.train.efficiency_steps, seconds[seconds.size() / 2]};
    others.done();
  }
  return time;
}

}  // namespace wattle
