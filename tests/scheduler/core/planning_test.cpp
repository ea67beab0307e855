#include "scheduler/core/planning.h"

#include <gmock/gmock.h>

#include "scheduler/core/journal/journal.h"
#include "tests/scheduler/core/fake_cluster.h"

namespace wattle::scheduler {
namespace {

const DeviceType kV100{"V100", 25, 100, 250};

/// Two nodes of four V100s; plans are asked for, made and applied by hand.
class Planning : public testing::Test {
 protected:
  static CoreOptions options() {
    CoreOptions options;
    options.cap_watts = 2000;
    options.policy.eta = 0;
    return options;
  }

  Planning() : cluster(options(), 3) {
    for (const char* name : {"a", "b"}) cluster.add_node(name, {kV100, 4, 60});
  }

  Core& core() { return cluster.core; }
  const State& now() { return core().state(); }
  PlanRequest request() { return core().request_plan(cluster.now()); }
  std::vector<Decision> plan() { return cluster.apply(make_plan(request())); }
  JobId submit(const std::string& name, int ranks) {
    return cluster.submit(name, ranks, ranks, 1e6);
  }

  FakeCluster cluster;
};

TEST_F(Planning, APlanStartsWhatWasAskedForBeforeIt) {
  const JobId before = submit("before", 4);
  const PlanRequest asked = request();
  const JobId meanwhile = submit("meanwhile", 4);
  cluster.apply(make_plan(asked));
  EXPECT_EQ(cluster.job(before).state, JobState::kRunning);
  EXPECT_EQ(cluster.job(meanwhile).state, JobState::kPending);
  EXPECT_TRUE(core().is_plan_due(cluster.now() + 1)) << "there is a job that it has not seen";
}

TEST_F(Planning, AJobThatIsCancelledMeanwhileIsNotStarted) {
  const JobId job = submit("job", 4);
  const PlanRequest asked = request();
  cluster.apply(Cancel{job});
  cluster.apply(make_plan(asked));
  EXPECT_EQ(cluster.job(job).state, JobState::kCancelled);
  EXPECT_TRUE(now().running.empty());
}

TEST_F(Planning, APlanForAHigherCapIsDroppedAndAnotherOneDue) {
  submit("job", 8);
  const PlanRequest asked = request();
  cluster.core.apply({cluster.now(), CapSet{"cap", 900, CapTier::kHard, {}, {}}});
  cluster.apply(make_plan(asked));
  EXPECT_TRUE(now().running.empty());
  EXPECT_TRUE(core().is_plan_due(cluster.now()));
  plan();
  EXPECT_EQ(now().running.size(), 1u);
  EXPECT_LE(now().ledger.possible_watts(), 900);
}

TEST_F(Planning, ARunThatIsAnotherOneByNowIsNotMoved) {
  const JobId job = submit("job", 4);
  plan();
  const Token before = cluster.job(job).run->token;
  Planned stop{now().events, cluster.now(), 2000, {}};
  stop.jobs.push_back({job, before + 1, std::nullopt, Reason::kPreempted, "others are worth more"});
  cluster.apply(stop);
  EXPECT_NE(cluster.job(job).run->phase, Run::Phase::kStopping);
  stop.jobs[0].token = before;
  cluster.apply(stop);
  EXPECT_EQ(cluster.job(job).run->phase, Run::Phase::kStopping);
}

TEST_F(Planning, JoulesThatAreSpentMeanwhileStartNothing) {
  const JobId job = submit("job", 4);
  const PlanRequest asked = request();
  cluster.apply(BudgetSet{"team-a", 0.5, 3600, 1});
  cluster.apply(make_plan(asked));
  EXPECT_TRUE(now().running.empty());
  plan();
  EXPECT_EQ(cluster.job(job).reason, Reason::kEnergyBudget);
}

TEST_F(Planning, EqualRequestsGiveEqualPlans) {
  for (int i = 0; i < 6; ++i) submit("job" + std::to_string(i), 1 + i % 3);
  const PlanRequest asked = request();
  const Planned first = make_plan(asked), again = make_plan(asked);
  EXPECT_EQ(to_line(Event{0, first}), to_line(Event{0, again}));
  EXPECT_EQ(first.jobs.size(), 6u);
}

TEST_F(Planning, ALongPlanComesInPartsThatSayTheSame) {
  std::vector<JobId> jobs;
  for (int i = 0; i < 603; ++i) jobs.push_back(submit("job" + std::to_string(i), 8));
  const Planned whole = make_plan(request());
  ASSERT_EQ(whole.jobs.size(), jobs.size());
  const std::vector<Planned> parts = parts_of(whole);
  ASSERT_EQ(parts.size(), 3u);
  std::vector<JobId> named;
  for (size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i].part.value_or(0), static_cast<int64_t>(i));
    EXPECT_LE(parts[i].jobs.size(), 250u);
    for (const PlannedJob& job : parts[i].jobs) {
      named.push_back(job.job);
      EXPECT_EQ(job.point.has_value(), named.size() == 1) << "what starts comes first";
    }
    cluster.apply(parts[i]);
    EXPECT_EQ(now().running.size(), 1u) << "a later part takes nothing back";
  }
  EXPECT_THAT(named, testing::UnorderedElementsAreArray(jobs));
  EXPECT_EQ(cluster.job(jobs.back()).reason, Reason::kResources);
  EXPECT_TRUE(make_plan(request()).jobs.empty()) << "all is said";
}

TEST_F(Planning, AShortPlanIsOnePart) {
  submit("job", 4);
  const Planned whole = make_plan(request());
  const std::vector<Planned> parts = parts_of(whole);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(to_line(Event{0, parts[0]}), to_line(Event{0, whole}));
}

TEST_F(Planning, NamesOnlyWhatIsNew) {
  submit("runs", 8);
  const JobId waits = submit("waits", 8);
  plan();
  EXPECT_EQ(cluster.job(waits).reason, Reason::kResources);
  EXPECT_TRUE(make_plan(request()).jobs.empty());
}

TEST_F(Planning, TicksAreDueOnlyWhenTheyDoSomething) {
  submit("job", 4);
  plan();
  cluster.run(1);  // the start is acknowledged
  EXPECT_FALSE(core().is_tick_due(cluster.now() + 3600));
  cluster.network.loss = 1;
  const int64_t before = now().events;
  cluster.apply(CapSet{"cap", 700, CapTier::kHard, {}, {}});  // and a plan, which lowers limits
  EXPECT_FALSE(core().is_tick_due(cluster.now() + 1));
  EXPECT_TRUE(core().is_tick_due(cluster.now() + 2.5)) << "no acknowledgement has come";
  EXPECT_EQ(now().events, before + 2);
}

TEST_F(Planning, TicksAreDueForLeasesOnJoulesAndForNodesOutOfReach) {
  cluster.apply(BudgetSet{"team-a", 1e6, 3600, 1});
  submit("job", 4);
  plan();
  EXPECT_FALSE(core().is_tick_due(cluster.now())) << "the run has its joules from the start";
  EXPECT_TRUE(core().is_tick_due(cluster.now() + 3600)) << "a new period";
  cluster.run(1);
  core().apply({cluster.now(), NodeLost{"b", 1}});
  EXPECT_FALSE(core().is_tick_due(cluster.now() + 6));
  EXPECT_TRUE(core().is_tick_due(cluster.now() + 7.5));
}

TEST_F(Planning, ANodeKeepsTheTermsOfItsRegistration) {
  cluster.apply(Configured{"backfill", 0, /*lease_seconds=*/1, /*orphan_grace_seconds=*/1, 1e6});
  EXPECT_STREQ(now().policy->name(), "backfill");
  cluster.apply(NodeLost{"a", 1});
  core().apply({cluster.now() + 6, Tick{}});
  EXPECT_FALSE(now().nodes[0].fell_safe) << "its agent was given 6 s, and a margin of one more";
  core().apply({cluster.now() + 7.5, Tick{}});
  EXPECT_TRUE(now().nodes[0].fell_safe);
  core().apply({cluster.now() + 8, NodeUp{"c", 1, {{kV100, 1, 60}}, {}, true}});
  EXPECT_EQ(now().nodes[2].lease_seconds, 1);
}

}  // namespace
}  // namespace wattle::scheduler
