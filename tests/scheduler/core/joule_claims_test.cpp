#include <algorithm>

#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// A tenant whose joules do not pay all of its jobs in one period: eight V100s, jobs of one rank.
class JouleClaims : public testing::TestWithParam<const char*> {
 protected:
  static constexpr double kPeriodSeconds = 1000;

  static CoreOptions options() {
    CoreOptions options;
    options.cap_watts = 2000;
    options.policy = {GetParam(), /*eta=*/0.5};
    return options;
  }
  explicit JouleClaims(uint64_t seed = 7) : cluster(options(), seed) {
    for (const char* name : {"a", "b"}) cluster.add_node(name, {kV100, 4, 60});
  }

  /// A tenant that has nothing spent yet.
  void give_joules(double joules) {
    tenant = fmt::format("team-{}", ++tenants_);
    cluster.apply(BudgetSet{tenant, joules, kPeriodSeconds, 1});
  }
  JobId submit(const std::string& name, double units, int64_t priority = 0) {
    return cluster.submit(tenant + name, 1, 1, units, [&](Submit& s) {
      s.spec.tenant = tenant;
      s.spec.priority = priority;
      s.work.kind = "alike";
    });
  }
  const Job& job(JobId id) const { return cluster.job(id); }
  /// What a job uses that has its tenant's joules for itself.
  double joules_alone(double units) {
    const JobId id = submit("alone", units);
    cluster.run_until_idle(kPeriodSeconds);
    return cluster.core.state().joules.job_spent(id);
  }
  int completed() const {
    const auto& jobs = cluster.core.state().jobs;
    return static_cast<int>(std::ranges::count_if(
        jobs, [](const auto& job) { return job.second.state == JobState::kCompleted; }));
  }

  FakeCluster cluster;
  std::string tenant = "alone";

 private:
  int tenants_ = 0;
};

TEST_P(JouleClaims, OfTwoJobsOneCompletesInThePeriodThatPaysOne) {
  const double one = joules_alone(130);
  for (const double share : {1.08, 1.45}) {
    const int before = completed();
    give_joules(share * one);
    const JobId first = submit("first", 130), second = submit("second", 130);
    cluster.run(kPeriodSeconds - 10);
    EXPECT_EQ(job(first).state, JobState::kCompleted) << cluster.core.explain(first);
    EXPECT_EQ(completed(), before + 1);
    EXPECT_EQ(job(second).reason, Reason::kEnergyBudget) << cluster.core.explain(second);
    cluster.run(kPeriodSeconds);
    EXPECT_EQ(job(second).state, JobState::kCompleted) << cluster.core.explain(second);
  }
}

TEST_P(JouleClaims, SayWhoHasTheJoulesAndUntilWhen) {
  const double one = joules_alone(130);
  give_joules(1.08 * one);
  submit("first", 130);
  cluster.run(20);
  const JobId second = submit("second", 130);
  const auto told = acceptance_of(cluster.core.state(), second);
  EXPECT_THAT(told->why, HasSubstr("J are kept for what its runs are expected to use yet"));
  ASSERT_TRUE(told->start_seconds);
  const double end = cluster.core.state().joules.period_end_seconds(tenant);
  EXPECT_EQ(*told->start_seconds, end);
  cluster.run(20);
  EXPECT_EQ(job(second).reason, Reason::kEnergyBudget);
  EXPECT_THAT(cluster.core.explain(second),
              HasSubstr("a start takes 3000 J: its next period begins at"));
}

TEST_P(JouleClaims, OfARunAreNoBarToAJobOfHigherPriority) {
  const double one = joules_alone(130);
  give_joules(1.5 * one);
  submit("first", 130);
  cluster.run(20);
  const JobId urgent = submit("urgent", 130, 10);
  cluster.run(kPeriodSeconds / 2);
  EXPECT_EQ(job(urgent).state, JobState::kCompleted) << cluster.core.explain(urgent);
}

TEST_P(JouleClaims, AreNoneWhereTheRestIsUnknown) {
  give_joules(50000);
  for (const char* name : {"one", "two"}) {
    const JobId id = cluster.submit(name, 1, 1, 1e6, [&](Submit& s) {
      s.spec.tenant = tenant;
      s.work.units = 0;
    });
    cluster.run(5);
    EXPECT_EQ(job(id).state, JobState::kRunning) << cluster.core.explain(id);
  }
}

/// As many complete in each period as its joules pay, and nothing waits for ever.
TEST_P(JouleClaims, LetAsManyJobsCompleteAsThePeriodPays) {
  const double one = joules_alone(130);
  for (int round = 0; round < 12; ++round) {
    const double paid = cluster.uniform(1.1, 5);
    const int before = completed();
    give_joules(paid * one);
    for (int i = 0; i < 6; ++i) submit(fmt::format("job {}", i), 130);
    cluster.run(kPeriodSeconds - 10);
    EXPECT_GE(completed() - before, std::floor(paid / 1.18)) << paid;
    EXPECT_TRUE(cluster.run_until_idle(8 * kPeriodSeconds)) << paid;
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, JouleClaims, testing::Values("fifo", "backfill", "energy"));

}  // namespace
}  // namespace wattle::scheduler
