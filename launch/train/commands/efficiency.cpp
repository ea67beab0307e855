#include "launch/train/commands/efficiency.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "trainer/data/loader.h"
#include "trainer/loop/records/run_report.h"
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

/// Median seconds of `count` steps of the whole global batch. `alone` has this rank only.
double time_steps(const RunConfig& config, Communicator& alone, int ranks, const Dataset& dataset,
                  int64_t count, EnergyMonitor& energy) {
  Replica replica = make_replica(config, alone);
  FiguresExchange exchange(alone, at::kCPU);
  TrainingStep step({replica.model, *replica.parameters, *replica.reducer, *replica.optimizer,
                     exchange, energy, [] {}},
                    {config.run.seed, config.run.deterministic, config.train.grad_clip});
  // The micro-batches that the ranks together will have.
  const BatchPlan shared =
      BatchPlan::of(config.train.global_batch, config.train.micro_batch, ranks);
  const BatchPlan plan = BatchPlan::of(config.train.global_batch, shared.micro_batch, 1);
  Loader loader(dataset, plan, config.run.seed);
  std::vector<double> seconds;
  for (int64_t s = 0; s < count + kUntimedSteps; ++s) {
    const auto begin = std::chrono::steady_clock::now();
    step.run(
        {s, 0, plan.micro_batches(), plan.micro_batches(), nullptr},
        [&](int64_t i) { return loader.micro_batch(s, i); }, config.optimizer.lr, false);
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    if (s >= kUntimedSteps) seconds.push_back(passed.count());
  }
  std::ranges::sort(seconds);
  return seconds[seconds.size() / 2];
}

/// What the checkpoint says; nothing if it says nothing, or was timed under other conditions.
std::optional<OneRankTime> timed_before(const ResumePoint& resume, const std::string& conditions) {
  const auto section = resume.sections.find("one_rank");
  if (section == resume.sections.end()) return std::nullopt;
  const auto json = nlohmann::json::parse(section->second);
  if (json.at("conditions") != conditions) return std::nullopt;
  return OneRankTime{json.at("steps"), json.at("step_seconds"), conditions};
}

}  // namespace

std::string to_section(const OneRankTime& time) {
  return nlohmann::json{
      {"steps", time.steps}, {"step_seconds", time.step_seconds}, {"conditions", time.conditions}}
      .dump();
}

OneRankTime one_rank_time(const RunSession& session, const ResumePoint& resume,
                          const std::string& threads, const Dataset& dataset,
                          EnergyMonitor& energy) {
  const int64_t steps = session.config.train.efficiency_steps;
  const int rank = session.world.rank(), ranks = session.world.size();
  if (ranks == 1 || steps == 0) return {};
  // Rank 0's, so that all decide alike.
  const std::string conditions = FiguresExchange(session.world, at::kCPU)
                                     .gather_texts(fmt::format("{} steps, {} ranks, {}, {}", steps,
                                                               ranks, threads, processor_name()))
                                     .front();
  if (const auto before = timed_before(resume, conditions)) return *before;
  const std::unique_ptr<Communicator> alone = session.world.split(rank == 0 ? 0 : 1, rank);
  QuietWait others(session.world);
  if (rank != 0) {
    others.wait();
    return {};
  }
  const std::unique_ptr<Communicator> one = alone->split(0, 0);
  const double seconds = time_steps(session.config, *one, ranks, dataset, steps, energy);
  others.done();
  return {steps, seconds, conditions};
}

}  // namespace wattle
