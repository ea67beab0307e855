#include "common/text.h"
#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;
using testing::Not;

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

TEST_P(Admission, SaysWhenALaterCapHoldsAJobThatTheOneOfNowDoesNot) {
  const double later = cluster.now() + 3600;
  cluster.apply(CapSet{"low", 450, CapTier::kHard, {}, later});
  const JobId id = cluster.submit("wide", 8, 8, 300);
  ASSERT_NE(id, 0);
  EXPECT_EQ(told(id).start_seconds, later);
  EXPECT_THAT(told(id).why, HasSubstr("it does not fit under the cap of now; from " +
                                      time_text(later) + " on, under 2000 W, alone it would run"));
  EXPECT_TRUE(told(id).joules);
  cluster.run(3600 - 5);
  EXPECT_FALSE(cluster.job(id).run);
  cluster.run(10);
  EXPECT_TRUE(cluster.job(id).run) << cluster.core.explain(id);
}

TEST_P(Admission, SaysTheStartThatAHigherCapMakesRoomFor) {
  cluster.apply(CapSet{"low", 700, CapTier::kHard, {}, {}});
  const double later = cluster.now() + 600;
  cluster.apply(CapSet{"high", 2000, CapTier::kHard, later, {}});
  cluster.submit("runs", 6, 6, 1e6, [](Submit& s) { s.work.units = 0; });
  cluster.run(5);
  const JobId id = cluster.submit("second", 2, 2, 300);
  EXPECT_EQ(told(id).start_seconds, later) << told(id).why;
}

TEST_P(Admission, SaysThatACapWhichIsNeverRaisedHoldsNoSuchJob) {
  cluster.apply(CapSet{"low", 450, CapTier::kHard, {}, {}});
  EXPECT_EQ(cluster.submit("wide", 8, 8, 300), 0);
}

TEST_P(Admission, SaysWhichCapWillStopTheJob) {
  const double from = cluster.now() + 600;
  cluster.apply(CapSet{"low", 450, CapTier::kHard, from, from + 3600});
  const JobId id = cluster.submit("wide", 8, 8, 1e5);
  EXPECT_THAT(told(id).why, HasSubstr("a cap of 450 W from " + time_text(from) +
                                      " will not hold it: it will be stopped at its checkpoint"));
  cluster.run(60);
  EXPECT_TRUE(cluster.job(id).run) << "its progress is kept";
  for (const auto& [ranks, units] : {std::pair(1, 1e5), std::pair(8, 50.)}) {
    const JobId other = cluster.submit(fmt::format("{} ranks", ranks), ranks, ranks, units);
    EXPECT_THAT(told(other).why, Not(HasSubstr("will not hold it")));
  }
}

TEST_P(Admission, StartsNothingThatACapStopsBeforeItGetsAnywhere) {
  const double from = cluster.now() + 80;
  cluster.apply(CapSet{"low", 450, CapTier::kHard, from, from + 300});
  const JobId id = cluster.submit("wide", 8, 8, 1e5);
  EXPECT_THAT(told(id).why, HasSubstr("it will not be started so shortly before"));
  EXPECT_EQ(told(id).start_seconds, from + 300);
  const JobId short_one = cluster.submit("short", 1, 1, 20);
  cluster.run(60);
  EXPECT_EQ(cluster.job(short_one).state, JobState::kCompleted);
  EXPECT_FALSE(cluster.job(id).run);
  EXPECT_EQ(cluster.job(id).reason, Reason::kPowerCap);
  EXPECT_THAT(cluster.core.explain(id), HasSubstr("would stop it before it gets anywhere"));
  cluster.run(330);
  EXPECT_TRUE(cluster.job(id).run) << cluster.core.explain(id);
}

INSTANTIATE_TEST_SUITE_P(Policies, Admission, testing::Values("fifo", "backfill", "energy"));

}  // namespace
}  // namespace wattle::scheduler
