#include "scheduler/core/journal/state_text.h"
#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::ElementsAre;

DeviceType gpu(double idle_watts, const std::string& name = "gpu") {
  return {name, idle_watts, 100, 250};
}

/// Two nodes of four GPUs of one model, which draw unlike watts when idle.
class UnlikeIdle : public testing::TestWithParam<const char*> {
 protected:
  static constexpr double kIdleA = 61.234, kIdleB = 58.911;
  static constexpr double kIdle = 4 * (kIdleA + kIdleB);

  UnlikeIdle() : cluster(options(), 7) {
    cluster.add_node("a", {gpu(kIdleA), 4, 100});
    cluster.add_node("b", {gpu(kIdleB), 4, 100});
  }
  static CoreOptions options() {
    CoreOptions options;
    options.cap_watts = 8 * 250;
    options.policy = {GetParam(), /*eta=*/0};
    return options;
  }
  const State& state() const { return cluster.core.state(); }
  double cap_of_limits() const { return state().ledger.possible_watts(); }
  void set_cap(double watts) { cluster.apply(CapSet{"cap", watts, CapTier::kHard, {}, {}}); }
  bool runs(JobId id) const { return id != 0 && cluster.job(id).state == JobState::kRunning; }

  FakeCluster cluster;
};

TEST_P(UnlikeIdle, NodesOfOneModelAreOneTypeAndRunAGang) {
  ASSERT_EQ(state().types.size(), 1u);
  EXPECT_EQ(state().types[0].idle_watts, kIdleB) << "the lowest";
  EXPECT_THAT(state().installed, ElementsAre(8));
  EXPECT_NEAR(cap_of_limits(), kIdle, 1e-9) << "each device counts with its own";
  const JobId gang = cluster.submit("gang", 8, 8, 1e6);
  cluster.run(20);
  ASSERT_TRUE(runs(gang));
  EXPECT_EQ(cluster.job(gang).run->shares.size(), 2u);
  EXPECT_EQ(cap_of_limits(), 8 * 250) << "all that the cap allows";
  cluster.apply(Cancel{gang});
  cluster.run(5);
  EXPECT_NEAR(cap_of_limits(), kIdle, 1e-9);
}

TEST_P(UnlikeIdle, AGangThatFitsTheCapExactlyRuns) {
  set_cap(8 * 100);
  const JobId gang = cluster.submit("gang", 8, 8, 1e6);
  cluster.run(20);
  EXPECT_TRUE(runs(gang));
  EXPECT_EQ(cap_of_limits(), 8 * 100);
}

TEST_P(UnlikeIdle, AJobThatFitsExactlyOnTheNodeThatDrawsLessRuns) {
  const double takes = 4 * (100 - kIdleB);
  set_cap(kIdle + takes - 0.01);
  EXPECT_EQ(cluster.submit("too hot", 4, 4, 1e6), 0);
  set_cap(kIdle + takes);
  const JobId job = cluster.submit("just so", 4, 4, 1e6);
  cluster.run(20);
  EXPECT_TRUE(runs(job));
}

TEST_P(UnlikeIdle, ANodeThatIsMeasuredAnewIsOfTheSameType) {
  for (double watts : {57.5, 63.25}) {
    cluster.measure_idle("b", watts);
    cluster.cut_off("b");
    cluster.run(4);
    cluster.reconnect("b");
    EXPECT_EQ(state().types.size(), 1u);
    EXPECT_NEAR(cap_of_limits(), 4 * (kIdleA + watts), 1e-9);
    EXPECT_EQ(state().types[0].idle_watts, std::min(kIdleA, watts));
  }
}

TEST_P(UnlikeIdle, TypesOfWhichNothingIsLeftAreNotPlanned) {
  cluster.add_node("c", {gpu(20, "old"), 4, 100});
  const JobId job = cluster.submit("train", 1, 4, 1e6);
  const auto most_type = [&] {
    ProfileBook profiles = state().profiles;
    return profiles.options(state().types, cluster.job(job))->back().point.type;
  };
  EXPECT_EQ(most_type(), 1);
  cluster.cut_off("c");
  cluster.run(60);
  cluster.remove("c");
  EXPECT_EQ(most_type(), 0);
}

INSTANTIATE_TEST_SUITE_P(Policies, UnlikeIdle, testing::Values("fifo", "backfill", "energy"),
                         [](const auto& info) { return std::string(info.param); });

/// Whatever the draws and however tight the cap: what is not refused is started.
TEST(TightCap, WhatIsTakenIsStarted) {
  int taken = 0, refused = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    CoreOptions options;
    options.cap_watts = 1e5;
    options.policy.name = seed % 3 == 0 ? "fifo" : seed % 3 == 1 ? "backfill" : "energy";
    FakeCluster cluster(options, seed);
    const int nodes = 1 + static_cast<int>(cluster.uniform(0, 4));
    int devices = 0;
    double idle = 0, least_idle = 100;
    for (int n = 0; n < nodes; ++n) {
      const DeviceGroup group{gpu(cluster.uniform(5, 95)), 1 + static_cast<int>(seed % 4), 100};
      cluster.add_node(fmt::format("n{}", n), group);
      devices += group.count;
      idle += group.count * group.type.idle_watts;
      least_idle = std::min(least_idle, group.type.idle_watts);
    }
    const double cap = cluster.uniform(idle + 1, devices * 110.0);
    cluster.apply(CapSet{"cap", cap, CapTier::kHard, {}, {}});
    const int ranks = 1 + static_cast<int>(cluster.uniform(0, devices));
    const JobId job = cluster.submit("train", ranks, ranks, 1e6);
    job == 0 ? ++refused : ++taken;
    if (job == 0) {
      EXPECT_GT(ranks * (100 - least_idle), cap - idle - 1) << seed;
      continue;
    }
    cluster.run(20);
    EXPECT_EQ(cluster.job(job).state, JobState::kRunning) << cluster.core.explain(job);
    EXPECT_LE(cluster.in_force_watts(), cap + 1e-6);
  }
  EXPECT_GT(taken, 100);
  EXPECT_GT(refused, 30);
}

/// A state of a version that had a type for every idle draw: the same as one of now whose types
/// have different names, once those are made the same.
class StateOfAnOlderVersion : public testing::Test {
 protected:
  StateOfAnOlderVersion() : cluster(options(), 7) {
    cluster.add_node("a", {gpu(61.234), 4, 100});
    cluster.add_node("b", {gpu(58.911, "GPU"), 4, 100});
    for (JobId& job : jobs) {
      job = cluster.submit(fmt::format("job{}", &job - jobs), 3, 3, 1e6,
                           [](Submit& s) { s.work.kind = "kind"; });
    }
    cluster.run(20);
    text = to_text(cluster.core.state());
    for (size_t at; (at = text.find("GPU")) != std::string::npos;) text.replace(at, 3, "gpu");
  }
  static CoreOptions options() {
    CoreOptions options;
    options.cap_watts = 8 * 250;
    return options;
  }
  NodeUp registration(const Core& core, const std::string& name, double idle_watts) {
    const State& state = core.state();
    const Node& node = state.nodes[state.node_by_name.at(name)];
    NodeUp up{name, node.epoch + 1, {{gpu(idle_watts), 4, 100}}, {}, true};
    for (JobId id : jobs_on(state, node)) {
      const scheduler::Run& run = *state.jobs.at(id).run;
      up.runs.push_back({run.token, {}, run.issued_watts, 10});
      for (DeviceId device : share_on(state.jobs.at(id), node.id)->devices) {
        up.runs.back().devices.push_back(device - node.devices.front());
      }
    }
    return up;
  }

  FakeCluster cluster;
  JobId jobs[2];
  std::string text;
};

TEST_F(StateOfAnOlderVersion, HasItsTypesMergedWithTheirRunsAndWhatWasLearnt) {
  ASSERT_EQ(cluster.core.state().types.size(), 2u);
  Core core(state_from_text(text));
  const State& state = core.state();
  ASSERT_EQ(state.types.size(), 1u);
  EXPECT_THAT(state.installed, ElementsAre(8));
  EXPECT_EQ(state.types[0].idle_watts, 58.911);
  for (const Device& device : state.devices) EXPECT_EQ(device.type, 0);
  for (JobId id : jobs) EXPECT_EQ(state.jobs.at(id).run->point.type, 0);
  EXPECT_EQ(to_text(*state_from_text(to_text(state))), to_text(state)) << "once and for all";

  // Both nodes' intervals count for the kind, under the limits at which its jobs ran.
  const auto weight_of = [&](const State& s, int type) {
    ProfileBook profiles = s.profiles;
    double least = 1;
    for (const Option& o : *profiles.options(s.types, s.jobs.at(jobs[0]))) {
      if (o.point.type == type && o.performance.basis != Basis::kPrior) {
        least = std::min(least, o.performance.uncertainty);
      }
    }
    return least;
  };
  const State& before = cluster.core.state();
  EXPECT_LT(weight_of(before, 0), 1);
  EXPECT_LT(weight_of(before, 1), 1);
  EXPECT_LE(weight_of(state, 0), std::min(weight_of(before, 0), weight_of(before, 1)));
}

TEST_F(StateOfAnOlderVersion, GoesOnWithItsRunsWhenTheNodesComeBack) {
  Core core(state_from_text(text));
  double now = cluster.now();
  core.apply({++now, Restarted{}});
  core.apply({++now, registration(core, "a", 61.234)});
  core.apply({++now, registration(core, "b", 58.911)});
  EXPECT_EQ(core.state().types.size(), 1u);
  for (JobId id : jobs) {
    const Job &job = core.state().jobs.at(id), &before = cluster.job(id);
    ASSERT_TRUE(job.run);
    EXPECT_EQ(job.run->token, before.run->token);
    EXPECT_NE(job.run->phase, scheduler::Run::Phase::kStopping);
  }
  core.apply({++now, make_plan(core.request_plan(now))});
  for (JobId id : jobs) EXPECT_NE(core.state().jobs.at(id).run->phase, Run::Phase::kStopping);
}

}  // namespace
}  // namespace wattle::scheduler
