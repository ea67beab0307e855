#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

/// What a new job is told of its start: eight V100s, jobs of known length.
class Outlook : public CoreStory {
 protected:
  explicit Outlook(const CoreOptions& options = CoreStory::options()) : CoreStory(options) {}

  /// Seconds until a job that is submitted now can start; nothing if it is not told.
  std::optional<double> told(int ranks, double units, int64_t priority = 0) {
    const JobId id = cluster.submit(fmt::format("job {}", ++jobs_), ranks, ranks, units,
                                    [&](Submit& s) { s.spec.priority = priority; });
    const auto accepted = acceptance_of(cluster.core.state(), id);
    if (!accepted || !accepted->start_seconds) return std::nullopt;
    return *accepted->start_seconds - cluster.now();
  }

 private:
  int jobs_ = 0;
};

struct FifoOutlook : Outlook {
  FifoOutlook() : Outlook(options("fifo")) {}
};

TEST_F(Outlook, OfFreeDevicesIsAStartAtOnceBesideARun) {
  EXPECT_EQ(told(1, 1000), 0);
  cluster.run(5);
  ASSERT_EQ(state(1), JobState::kRunning);
  EXPECT_EQ(told(1, 1000), 0) << "seven devices are free, and nobody waits";
  cluster.run(5);
  EXPECT_EQ(state(2), JobState::kRunning);
}

TEST_F(Outlook, CountsWhatWasTakenSinceTheNewestPlan) {
  for (int i = 0; i < 8; ++i) EXPECT_EQ(told(1, 1000), 0);
  const auto ninth = told(1, 1000);
  ASSERT_TRUE(ninth);
  EXPECT_GT(*ninth, 900) << "the eight before it take all devices";
  EXPECT_EQ(told(1, 1000, 10), 0) << "it goes before all of them";
}

TEST_F(Outlook, WaitsForRunsAndForThoseBeforeIt) {
  told(8, 1000);
  cluster.run(30);
  const double rest = *told(8, 1000);
  EXPECT_GT(rest, 50);
  EXPECT_LT(rest, 250);
  EXPECT_GT(*told(8, 1000), rest + 100) << "behind the one that waits";
}

TEST_F(Outlook, IsUnknownBehindOnesOfUnknownLength) {
  for (int i = 0; i < 2; ++i) told(8, 0);
  EXPECT_FALSE(told(8, 1000));
}

TEST_F(Outlook, HasStartsThatArePlannedInItsTimeline) {
  told(8, 1000);
  cluster.run(5);
  cluster.checkpoint_seconds = 30;
  cluster.apply(Cancel{1});
  ASSERT_EQ(told(4, 1000), 0);
  cluster.run(5);
  ASSERT_EQ(cluster.core.state().pending_starts.size(), 1u);
  EXPECT_EQ(told(4, 1000), 0) << "four of eight are planned for the other";
  EXPECT_GT(told(4, 1000), 100);
}

TEST_F(Outlook, OfAWideJobHoldsNoneThatFitBesideIt) {
  told(4, 1000);
  cluster.run(5);
  EXPECT_GT(told(8, 1000), 100);
  EXPECT_EQ(told(2, 1000), 0);
}

TEST_F(FifoOutlook, NothingPassesTheFirstThatWaits) {
  told(4, 1000);
  cluster.run(5);
  EXPECT_GT(told(8, 1000), 100);
  EXPECT_GT(told(2, 1000), 100);
}

}  // namespace
}  // namespace wattle::scheduler
