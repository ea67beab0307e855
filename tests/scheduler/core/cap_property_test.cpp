#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/scheduler/core/fake_cluster.h"

namespace wattle::scheduler {
namespace {

const DeviceType kV100{"V100", 25, 100, 250};

CoreOptions options_of(const std::string& policy, double cap_watts) {
  CoreOptions options;
  options.cap_watts = cap_watts;
  options.policy.name = policy;
  return options;
}

/// One random history: nodes whose devices draw unlike watts when idle, jobs, a bad network, agents
/// that are cut off, die and come back, with their runs or without, nodes that join, limits that
/// are never acknowledged, and an operator who removes nodes and moves the cap.
class History {
 public:
  History(uint64_t seed, const std::string& policy, bool cap_moves)
      : cluster_(options_of(policy, 2400), seed), cap_moves_(cap_moves) {
    cluster_.network = {0.01, 4, 0.3};
    cluster_.planning_seconds = seed % 2 ? 3 : 0;
    cluster_.check = [this] { check(); };
    for (int i = 0; i < kNodes; ++i) {
      cluster_.add_node(fmt::format("n{}", i), {idling_somehow(), 4, 60});
    }
  }

  void live(double seconds) {
    int jobs = 0;
    for (double passed = 0; passed < seconds; passed += 3) {
      const double what = cluster_.uniform(0, 12);
      const std::string node = fmt::format("n{}", static_cast<int>(cluster_.uniform(0, nodes_)));
      if (what < 4 && jobs < 25) {
        const int ranks = 1 + static_cast<int>(cluster_.uniform(0, 6));
        cluster_.submit(fmt::format("job{}", ++jobs), std::min(ranks, 2), ranks,
                        cluster_.uniform(10, 120));
      } else if (what < 5.5) {
        cluster_.cut_off(node);
      } else if (what < 6) {
        cluster_.power_off(node);
      } else if (what < 8.5) {
        if (what < 7) cluster_.measure_idle(node, idling_somehow().idle_watts);
        cluster_.reconnect(node);
      } else if (what < 9 && cap_moves_) {
        cluster_.apply(CapSet{"cap", cluster_.uniform(1000, 3500), CapTier::kHard, {}, {}});
      } else if (what >= 10) {
        unsettle(node, jobs);
      } else if (jobs > 0) {
        cluster_.apply(Cancel{1 + static_cast<JobId>(cluster_.uniform(0, jobs))});
      }
      cluster_.run(3);
    }
  }

  bool heals_and_finishes() {
    cluster_.network = {};
    cluster_.deaf.clear();
    for (int i = 0; i < nodes_; ++i) cluster_.reconnect(fmt::format("n{}", i));
    return cluster_.run_until_idle(20000);
  }

  FakeCluster& cluster() { return cluster_; }

 private:
  static constexpr int kNodes = 4, kMostNodes = 8;

  /// What is measured is no whole number of anything.
  DeviceType idling_somehow() {
    DeviceType type = kV100;
    type.idle_watts = cluster_.uniform(12, 25);
    return type;
  }

  void unsettle(const std::string& node, int jobs) {
    const double what = cluster_.uniform(0, 4);
    if (what < 1 && nodes_ < kMostNodes) {
      cluster_.add_node(fmt::format("n{}", nodes_++), {idling_somehow(), 4, 60});
    } else if (what < 2) {
      cluster_.start_elsewhere(node);
    } else if (what < 3 && jobs > 0) {
      cluster_.deaf.insert(1 + static_cast<JobId>(cluster_.uniform(0, jobs)));
    } else {
      cluster_.remove(node);
    }
  }

  void check() {
    const State& state = cluster_.core.state();
    const double possible = state.ledger.possible_watts();
    const double cap = state.hard_cap.at(cluster_.now());
    ASSERT_LE(cluster_.in_force_watts(), possible + 1e-6) << "more is in force than is counted";
    // A cap that has just been lowered is met step by step: never upwards while above it.
    ASSERT_LE(possible, std::max(cap, possible_before_) + 1e-6) << "at " << cluster_.now();
    possible_before_ = possible;
    // Whatever the core counts.
    const double bound = cap_moves_ ? possible : cap;
    ASSERT_LE(cluster_.in_force_watts(), bound + 1e-6) << "at " << cluster_.now();
    ASSERT_EQ(state.types.size(), 1u);
    for (const auto& [id, job] : state.jobs) ASSERT_LE(cluster_.live_runs(id), 1) << "job " << id;
  }

  FakeCluster cluster_;
  bool cap_moves_;
  int nodes_ = kNodes;
  double possible_before_ = 0;
};

class CapProperty : public testing::TestWithParam<const char*> {};

TEST_P(CapProperty, IsNeverExceededWhateverTheNetworkAndTheAgentsDo) {
  for (uint64_t seed = 1; seed <= 150 && !HasFatalFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    History history(seed, GetParam(), /*cap_moves=*/false);
    history.live(120);
  }
}

TEST_P(CapProperty, IsApproachedFromAboveOnlyDownwardsWhenItMoves) {
  for (uint64_t seed = 1; seed <= 150 && !HasFatalFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    History history(seed, GetParam(), /*cap_moves=*/true);
    history.live(120);
  }
}

TEST_P(CapProperty, EveryJobEndsWhenTheNetworkHeals) {
  for (uint64_t seed = 1; seed <= 40 && !HasFatalFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    History history(seed, GetParam(), /*cap_moves=*/true);
    history.live(90);
    ASSERT_TRUE(history.heals_and_finishes());
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, CapProperty, testing::Values("fifo", "backfill", "energy"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace wattle::scheduler
