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

}  // namespace
}  // namespace wattle::scheduler
