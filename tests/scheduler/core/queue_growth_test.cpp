#include <algorithm>
#include <span>

#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

constexpr double kLong = 1e7;  ///< units that no test lives to see done

/// Jobs of the queue policies under caps that fall and rise again. Eight devices draw 200 W idle,
/// and each that runs at its lowest limit 75 W more.
class QueueGrowth : public CoreStory, public testing::WithParamInterface<const char*> {
 protected:
  QueueGrowth() : CoreStory(CoreStory::options(GetParam(), 3000)) {}

  int ranks(JobId id) const { return cluster.job(id).run ? run_of(id).point.ranks : 0; }
  int resizes(JobId id) const { return resizes(cluster, id, 0); }
  /// Among its decisions from one on.
  static int resizes(const FakeCluster& of, JobId id, size_t from) {
    const std::string begin = fmt::format("{{\"decision\":\"resize\",\"job\":{},", id);
    const auto lines = std::span(of.decision_lines).subspan(from);
    return static_cast<int>(
        std::ranges::count_if(lines, [&](const auto& line) { return line.starts_with(begin); }));
  }
  /// A job on eight devices that the cap has made to run on four.
  JobId shrunk_job() {
    const JobId job = cluster.submit("shrunk", 1, 8, kLong);
    cluster.run(60);
    EXPECT_EQ(ranks(job), 8);
    set_cap(505);
    cluster.run(60);
    EXPECT_EQ(ranks(job), 4);
    return job;
  }
};

INSTANTIATE_TEST_SUITE_P(, QueueGrowth, testing::Values("fifo", "backfill"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(QueueGrowth, AJobThatWasShrunkForTheCapGrowsAgain) {
  const JobId job = shrunk_job();
  set_cap(3000);
  cluster.run(60);
  EXPECT_EQ(ranks(job), 8);
  EXPECT_EQ(cap_of_limits(), 8 * 250);
  EXPECT_EQ(resizes(job), 2);
  EXPECT_THAT(cluster.core.explain(job), HasSubstr("grows from 4 to 8 ranks"));
}

/// The one that is first in the queue takes them all.
TEST_P(QueueGrowth, GoesByTheQueue) {
  const JobId first = cluster.submit("first", 1, 6, kLong);
  const JobId second = cluster.submit("second", 1, 6, kLong);
  cluster.run(30);
  ASSERT_EQ(ranks(first), 6);
  ASSERT_EQ(ranks(second), 2);
  set_cap(505);
  cluster.run(60);
  ASSERT_EQ(ranks(first) + ranks(second), 4);
  set_cap(3000);
  cluster.run(60);
  EXPECT_EQ(ranks(first), 6);
  EXPECT_EQ(ranks(second), 2);
}

/// Three of eight devices are the job's, four are free, and the head has the eighth in a while.
TEST_P(QueueGrowth, TakesNothingThatTheHeadOfTheQueueWaitsFor) {
  const JobId job = cluster.submit("job", 1, 7, kLong);
  const JobId brief = cluster.submit("brief", 1, 1, 400);
  const JobId head = cluster.submit("head", 5, 5, kLong);
  cluster.run(20);
  set_cap(505);
  cluster.run(60);
  ASSERT_EQ(ranks(job), 3);
  set_cap(3000);
  cluster.run(100);
  EXPECT_EQ(ranks(job), 3);
  ASSERT_EQ(ranks(brief), 1);
  cluster.run(500);
  EXPECT_EQ(ranks(head), 5);
  cluster.apply(Cancel{head});
  cluster.run(60);
  EXPECT_EQ(ranks(job), 7);
}

/// A narrow one that waits goes first; what it leaves is the run's.
TEST_P(QueueGrowth, TakesWhatIsLeftWhenAllThatWaitHaveStarted) {
  const JobId job = shrunk_job();
  const JobId narrow = cluster.submit("narrow", 1, 1, kLong);
  cluster.run(20);
  EXPECT_EQ(reason(narrow), Reason::kPowerCap);
  set_cap(3000);
  cluster.run(60);
  EXPECT_EQ(ranks(narrow), 1);
  EXPECT_EQ(ranks(job), 7);
  EXPECT_EQ(resizes(job), 2);
}

/// Others come while its checkpoint is written: they don't get what it has stopped for.
TEST_P(QueueGrowth, KeepsItsClaimWhileItStops) {
  const JobId job = shrunk_job();
  cluster.checkpoint_seconds = 60;
  set_cap(3000);
  cluster.run(5);
  ASSERT_EQ(run_of(job).stop_reason, Reason::kResize);
  const JobId urgent =
      cluster.submit("urgent", 1, 4, kLong, [](Submit& s) { s.spec.priority = 9; });
  cluster.run(90);
  EXPECT_EQ(ranks(job), 8);
  EXPECT_EQ(ranks(urgent), 0);
}

/// It goes on with fewer where devices are lost meanwhile.
TEST_P(QueueGrowth, GoesOnWithWhatIsThere) {
  const JobId job = shrunk_job();
  cluster.checkpoint_seconds = 60;
  set_cap(3000);
  cluster.run(5);
  ASSERT_EQ(run_of(job).stop_reason, Reason::kResize);
  cluster.power_off(run_of(job).shares.front().node == 0 ? "b" : "a");
  cluster.run(90);
  EXPECT_EQ(ranks(job), 4);
}

TEST_P(QueueGrowth, DoesNotPayShortlyBeforeTheEnd) {
  const JobId job = cluster.submit("job", 1, 8, 520);
  cluster.run(60);
  set_cap(505);
  cluster.run(20);
  ASSERT_EQ(ranks(job), 4);
  set_cap(3000);
  cluster.run(20);
  EXPECT_EQ(ranks(job), 4);
  EXPECT_EQ(resizes(job), 1);
}

/// Eight ranks were measured to be 4 % faster than four.
TEST_P(QueueGrowth, DoesNotPayForTooLittle) {
  cluster.speed = [](JobId, int ranks, double) { return 1 + 0.01 * ranks; };
  const JobId job = cluster.submit("job", 4, 8, kLong, [](Submit& s) {
    s.work.rank_counts = {4, 8};
  });
  cluster.run(60);
  ASSERT_EQ(ranks(job), 8);
  set_cap(505);
  cluster.run(60);
  ASSERT_EQ(ranks(job), 4);
  set_cap(3000);
  cluster.run(100);
  EXPECT_EQ(ranks(job), 4);
}

/// Its tenant's joules last for the four ranks that it has, not for eight.
TEST_P(QueueGrowth, IsNotPaidWithJoulesThatAreShort) {
  const JobId job = cluster.submit("job", 1, 8, kLong);
  cluster.run(30);
  set_cap(505);
  cluster.run(60);
  ASSERT_EQ(ranks(job), 4);
  give_joules("team-a", 1.2e6, 3600);
  set_cap(3000);
  cluster.run(100);
  EXPECT_EQ(ranks(job), 4);
}

/// Whatever runs and waits: under a steady cap each job soon stays as it is.
TEST_P(QueueGrowth, ComesToRestUnderASteadyCap) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    FakeCluster history(CoreStory::options(GetParam(), 2000), seed);
    history.keep_journal = true;
    history.draw = [](JobId job, double limit) { return (0.6 + 0.05 * (job % 8)) * limit; };
    for (const char* name : {"a", "b", "c"}) history.add_node(name, {kV100, 4, 60});
    for (int phase = 0; phase < 4; ++phase) {
      const auto number = [&](double most) {
        return static_cast<int>(history.uniform(1, most + 1));
      };
      history.submit(fmt::format("wide{}", phase), number(6), 12, kLong);
      history.submit(fmt::format("narrow{}", phase), 1, number(4), kLong);
      history.apply(CapSet{"cap", history.uniform(500, 3000), CapTier::kHard, {}, {}});
      if (seed % 2) {
        history.apply(CapSet{"soft", history.uniform(500, 2500), CapTier::kSoft, {}, {}});
      }
      const size_t before = history.decision_lines.size();
      history.run(200);
      const size_t settled = history.decision_lines.size();
      history.run(200);
      for (JobId job = 1; job <= 2 * (phase + 1); ++job) {
        EXPECT_LE(resizes(history, job, before), 2) << "job " << job << ", phase " << phase;
        EXPECT_EQ(resizes(history, job, settled), 0) << "job " << job << ", phase " << phase;
      }
    }
  }
}

}  // namespace
}  // namespace wattle::scheduler
