#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// What a submit is told of the job's use, and what comes of it.
class Admission : public testing::TestWithParam<const char*> {
 protected:
  static CoreOptions options() {
    CoreOptions options;
    options.cap_watts = 2000;
    options.policy = {GetParam(), /*eta=*/0.5};
    return options;
  }
  Admission() : cluster(options(), 7) {
    for (const char* name : {"a", "b"}) cluster.add_node(name, {kV100, 4, 60});
  }

  Accepted told(JobId id) const { return *acceptance_of(cluster.core.state(), id); }

  FakeCluster cluster;
};

TEST_P(Admission, SaysThePointAtWhichThePolicyRunsTheJobAlone) {
  for (const double cap : {2000., 830., 420.}) {
    cluster.apply(CapSet{"cap", cap, CapTier::kHard, {}, {}});
    const JobId id = cluster.submit(fmt::format("under {} W", cap), 1, 4, 300);
    cluster.run(3);
    ASSERT_TRUE(cluster.job(id).run) << cluster.core.explain(id);
    const OperatingPoint& point = cluster.job(id).run->point;
    EXPECT_THAT(told(id).why, HasSubstr(fmt::format("alone it would run on {} of V100 at {:.0f} W",
                                                    point.ranks, point.limit_watts)));
    ASSERT_TRUE(cluster.run_until_idle(3000));
  }
}

TEST_P(Admission, SaysTheWattsThatWereLearntAtThatPoint) {
  cluster.submit("first", 2, 2, 600);
  ASSERT_TRUE(cluster.run_until_idle(3000));
  const double start = cluster.now();
  const JobId id =
      cluster.submit("again", 2, 2, 600, [](Submit& s) { s.work.kind = "of the first"; });
  ASSERT_TRUE(cluster.run_until_idle(3000));
  const JobId known =
      cluster.submit("known", 2, 2, 600, [](Submit& s) { s.work.kind = "of the first"; });
  const Job& job = cluster.job(id);
  EXPECT_NEAR(*told(known).run_seconds, job.ended_seconds - start, 5);
  EXPECT_NEAR(*told(known).joules, cluster.core.state().joules.job_spent(id),
              0.05 * *told(known).joules);
}

INSTANTIATE_TEST_SUITE_P(Policies, Admission, testing::Values("fifo", "backfill", "energy"));

}  // namespace
}  // namespace wattle::scheduler
