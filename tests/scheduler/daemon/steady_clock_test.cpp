#include "scheduler/daemon/steady_clock.h"

#include <gmock/gmock.h>

#include "scheduler/core/core.h"

namespace wattle::scheduler {
namespace {

class SteadyClockTest : public testing::Test {
 protected:
  void pass(double seconds) { wall_ += seconds, steady_ += seconds; }

  double wall_ = 1.8e9, steady_ = 100;
  SteadyClock clock_{[this] { return wall_; }, [this] { return steady_; }};
};

TEST_F(SteadyClockTest, IsTheWallClockWhileNobodySetsIt) {
  for (int i = 0; i < 1000; ++i) {
    pass(0.37);
    ASSERT_NEAR(clock_.now(), wall_, 1e-5);
  }
}

TEST_F(SteadyClockTest, AStepOfTheWallClockIsTakenUpSlowly) {
  for (const auto& [step, slew] :
       {std::pair(60.0, SteadyClock::kSlew), {-60.0, -SteadyClock::kSlewBack}}) {
    const double before = clock_.now();
    wall_ += step;
    EXPECT_NEAR(clock_.now(), before, 1e-5);
    double last = before;
    for (int i = 0; i < 30; ++i) {
      pass(1);
      const double now = clock_.now();
      EXPECT_GT(now, last) << "time never stands still";
      last = now;
    }
    EXPECT_NEAR(last - before, 30 * (1 + slew), 1e-3) << "a lease of 30 s";
    for (int i = 0; i < 7000; ++i) pass(1), clock_.now();
    EXPECT_NEAR(clock_.now(), wall_, 1e-3) << "in the end it is right again";
  }
}

TEST_F(SteadyClockTest, RunsNoFasterThanTheCoreReckonsWith) {
  const double lease = 90000;
  const double before = clock_.now();
  wall_ += 3600;
  pass(lease);
  const CoreOptions options;
  EXPECT_GT(clock_.now() - before, lease + options.clock_margin_seconds);
  EXPECT_LT(clock_.now() - before, lease * (1 + options.clock_slew));
}

TEST_F(SteadyClockTest, OneThatStartsAheadGoesOnSlowlyUntilItIsRight) {
  SteadyClock clock([this] { return wall_; }, wall_ + 60);
  const double began = wall_ + 60;
  EXPECT_NEAR(clock.now(), began, 1e-5);
  for (int i = 0; i < 100; ++i) pass(1), clock.now();
  EXPECT_NEAR(clock.now(), began + 100 * (1 - SteadyClock::kSlewBack), 1e-3);
  for (int i = 0; i < 501; ++i) pass(1), clock.now();
  EXPECT_NEAR(clock.now(), wall_, 1e-5);
  EXPECT_NEAR(SteadyClock([this] { return wall_; }, wall_ - 60).now(), wall_, 1e-5)
      << "a journal's time that is over is no concern";
}

TEST_F(SteadyClockTest, TheMachinesOwnIsNow) {
  SteadyClock clock;
  const double first = clock.now();
  EXPECT_GT(first, 1.7e9);
  EXPECT_GE(clock.now(), first);
}

}  // namespace
}  // namespace wattle::scheduler
