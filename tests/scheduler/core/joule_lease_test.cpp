#include <algorithm>

#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// Budgets that change while a run has a lease, or none.
class JouleLease : public CoreStory {
 protected:
  double spent() const { return cluster.core.state().joules.tenant_spent("team-a"); }
  double leased(JobId job) const {
    const scheduler::Run& run = run_of(job);
    return cluster.core.state().joules.leased(run.token, run.shares.front().node);
  }
};

TEST_F(JouleLease, OfABudgetThatIsLiftedGoesOn) {
  give_joules("team-a", 1e6, 1e6);
  const JobId job = cluster.submit("train", 1, 1, 1e6);
  cluster.run(10);
  const Token token = run_of(job).token;
  cluster.apply(BudgetSet{"team-a", std::nullopt});
  cluster.run(600);
  ASSERT_EQ(state(job), JobState::kRunning);
  EXPECT_EQ(run_of(job).token, token);
}

TEST_F(JouleLease, CountsFromWhatWasUsedBeforeThereWasABudget) {
  const JobId job = cluster.submit("train", 1, 1, 1e6);
  cluster.run(400);
  const Token token = run_of(job).token;
  const double before = cluster.core.state().joules.job_spent(job);
  ASSERT_GT(before, 50000);
  give_joules("team-a", 40000, 1e6);
  cluster.run(30);
  ASSERT_EQ(state(job), JobState::kRunning);
  EXPECT_EQ(run_of(job).token, token);
  cluster.run(400);
  EXPECT_EQ(reason(job), Reason::kEnergyBudget);
  EXPECT_GT(spent(), 0.8 * 40000);
  EXPECT_LE(spent(), 40000 + 250 * (1 + cluster.checkpoint_seconds));
}

/// A start takes 24 kJ; the first share alone could use 60 kJ until the next renewal.
TEST_F(JouleLease, IsDealtOverAllSharesOfAGang) {
  const JobId job = cluster.submit("gang", 8, 8, 1e6, [](Submit& s) {
    s.work.units = 0;  // nobody knows how many: it runs at full power
    s.spec.energy_budget_joules = 50000;
  });
  cluster.run(3);
  ASSERT_EQ(state(job), JobState::kRunning);
  EXPECT_EQ(run_of(job).phase, scheduler::Run::Phase::kRunning);
  for (const NodeShare& share : run_of(job).shares) {
    EXPECT_NEAR(cluster.core.state().joules.leased(run_of(job).token, share.node), 25000, 1);
  }
  cluster.run(60);
  EXPECT_EQ(state(job), JobState::kTimeout) << cluster.core.explain(job);
  const double most = 50000 + 8 * 250 * (1 + cluster.checkpoint_seconds);
  EXPECT_GT(cluster.core.state().joules.job_spent(job), 0.7 * 50000);
  EXPECT_LE(cluster.core.state().joules.job_spent(job), most);
}

TEST_F(JouleLease, OfATenantsLastJoulesIsDealtByDevices) {
  give_joules("team-a", 20000, 1e6);
  const JobId job = cluster.submit("gang", 6, 6, 1e6);
  cluster.run(3);
  ASSERT_EQ(state(job), JobState::kRunning);
  ASSERT_EQ(run_of(job).shares.size(), 2u);
  for (const NodeShare& share : run_of(job).shares) {
    const double devices = static_cast<double>(share.devices.size());
    EXPECT_NEAR(cluster.core.state().joules.leased(run_of(job).token, share.node),
                devices * 20000 / 6, 1);
  }
}

/// 8000 J pay the start of two ranks; the fastest point would take 12,000 J.
TEST(JouleLeases, OfWhatIsLeftStartAJobOnFewerRanks) {
  for (const char* policy : {"fifo", "backfill", "energy"}) {
    CoreOptions options;
    options.cap_watts = 2000;
    options.policy = {policy, 0};
    FakeCluster cluster(options, 7);
    cluster.add_node("a", {kV100, 4, 60});
    cluster.apply(BudgetSet{"team-a", 8000, 1e6, 1});
    const JobId job = cluster.submit("train", 1, 4, 1e6);
    cluster.run(5);
    ASSERT_EQ(cluster.job(job).state, JobState::kRunning) << policy << cluster.core.explain(job);
    EXPECT_LE(cluster.job(job).run->point.ranks, 2) << policy;
  }
}

/// 30 s at its lowest limit are less than 5 s at its highest.
TEST(JouleLeases, OfAStartAreEnoughToBegin) {
  CoreOptions options;
  options.cap_watts = 1000;
  options.policy = {"fifo", 0};
  FakeCluster cluster(options, 7);
  cluster.add_node("a", {{"cpu", 2, 5.8, 40}, 1, 6});
  const JobId job =
      cluster.submit("train", 1, 1, 1e6, [](Submit& s) { s.spec.energy_budget_joules = 180; });
  cluster.run(2);
  ASSERT_TRUE(cluster.job(job).run) << cluster.core.explain(job);
  EXPECT_EQ(cluster.job(job).run->phase, Run::Phase::kRunning);
  cluster.run(600);
  EXPECT_EQ(cluster.job(job).state, JobState::kTimeout) << cluster.core.explain(job);
}

/// The command may have been lost with the stream.
TEST_F(JouleLease, IsSaidAgainWhenTheNodeRegisters) {
  give_joules("team-a", 1e6, 1e6);
  const JobId job = cluster.submit("train", 1, 1, 1e6);
  cluster.run(10);
  const scheduler::Run& run = run_of(job);
  const Node& node = cluster.core.state().nodes[run.shares.front().node];
  const NodeUp again{
      node.name, node.epoch + 1, node.groups, {{run.token, {0}, run.issued_watts, 100}}};
  std::optional<double> said;
  for (const Decision& decision : cluster.apply(again)) {
    if (const auto* lease = std::get_if<LeaseJoules>(&decision)) said = lease->joules;
  }
  EXPECT_EQ(said, leased(job));
}

TEST_F(JouleLease, APeriodThatNoDateEndsIsRefused) {
  for (const double seconds : {0.5, 4e9, 1e300}) {
    EXPECT_THAT(refusal(cluster.apply(BudgetSet{"team-a", 1e6, seconds})),
                HasSubstr("expected a period of 1 s to 100 years"));
  }
  EXPECT_THAT(refusal(cluster.apply(CapSet{"cap", 1500, CapTier::kHard, {}, 1e300})),
              HasSubstr("within the next 100 years"));
}

/// A run of 300 units at its limit, which reports so often, and has more to do than was said.
TEST(JouleLeases, OutlastTheReportsOfARunAtItsEnd) {
  for (const double every : {5.0, 5.5, 7.0, 10.0, 15.0}) {
    CoreOptions options;
    options.cap_watts = 2000;
    Core core(options);
    const double start = 1000;
    core.apply({start, NodeUp{"a", 1, {{kV100, 4, 60}}, {}}});
    core.apply({start, BudgetSet{"t", 1e9, 30 * 86400.0, 1}});
    Submit submit;
    submit.name = submit.request_id = "job";
    submit.spec.tenant = "t";
    submit.work = {300, "", {}, 1};
    core.apply({start, submit});
    core.apply({start, make_plan(core.request_plan(start))});
    const scheduler::Run& run = *core.state().jobs.at(1).run;
    for (double passed = every; passed < 500; passed += every) {
      const double used = passed * run.issued_watts;
      ASSERT_LT(used, core.state().joules.leased(run.token, 0)) << passed << " s, each " << every;
      Measured measured;
      measured.node = "a", measured.epoch = 1, measured.token = run.token;
      measured.limit_watts = measured.watts = run.issued_watts;
      measured.joules = used;
      measured.units = std::min(300.0, passed);
      measured.units_per_second = 1;
      core.apply({start + passed, measured});
      if (core.is_tick_due(start + passed)) core.apply({start + passed, Tick{}});
    }
  }
}

}  // namespace
}  // namespace wattle::scheduler
