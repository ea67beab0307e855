#include "energy/limits/budget_tracker.h"

#include <gmock/gmock.h>

#include <random>

#include "common/error.h"

namespace wattle {
namespace {

TEST(BudgetTracker, StopsWhileTheLastCheckpointStillFits) {
  BudgetTracker budget(1000, OnExceeded::kStop);
  budget.checkpoint_done(100);
  double spent = 0;
  int steps = 0;
  while (budget.decide(spent, 1000) == BudgetDecision::kContinue) {
    spent += 50;
    budget.step_done(50);
    ++steps;
  }
  EXPECT_EQ(steps, 18);
  EXPECT_LE(spent + 100, 1000);
}

/// Whatever steps and checkpoints take, within what was seen before: no overshoot at all; with
/// steps that grow: at most one step.
TEST(BudgetTracker, OvershootsByAtMostOneStep) {
  std::mt19937 random(11);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int trial = 0; trial < 500; ++trial) {
    const double budget_joules = 500 + 5000 * uniform(random);
    const double scale = 1 + 50 * uniform(random), checkpoint = 100 * uniform(random);
    BudgetTracker budget(budget_joules, OnExceeded::kStop);
    budget.expect_checkpoint(checkpoint);
    double spent = 0, largest = 0;
    while (budget.decide(spent, 1 << 20) == BudgetDecision::kContinue) {
      const double step = scale * (0.5 + uniform(random));
      spent += step;
      largest = std::max(largest, step);
      budget.step_done(step);
      if (uniform(random) < 0.05) {
        spent += checkpoint;
        budget.checkpoint_done(checkpoint);
      }
    }
    // A checkpoint on the way is asked about after it, so it may take the place of a step.
    EXPECT_LE(spent + checkpoint, budget_joules + std::max(largest, checkpoint));
  }
}

TEST(BudgetTracker, WithoutAWordACheckpointCountsLikeAStep) {
  BudgetTracker budget(100, OnExceeded::kStop);
  budget.step_done(20);
  EXPECT_EQ(budget.checkpoint_joules(), 20);
  budget.expect_checkpoint(50);
  EXPECT_EQ(budget.checkpoint_joules(), 50);
  budget.checkpoint_done(30);  // the copy alone, of one written in the background
  EXPECT_EQ(budget.checkpoint_joules(), 50);
  budget.checkpoint_done(60);
  EXPECT_EQ(budget.checkpoint_joules(), 60);
}

TEST(BudgetTracker, ThrottlesBeforeItStops) {
  BudgetTracker budget(1000, OnExceeded::kThrottle);
  double spent = 0;
  int throttled = 0;
  double step = 20;
  for (int done = 0; done < 100; ++done) {
    const BudgetDecision decision = budget.decide(spent, 100 - done);
    ASSERT_NE(decision, BudgetDecision::kStop) << "after " << done << " steps";
    if (decision == BudgetDecision::kThrottle) {
      ++throttled;
      step *= 0.6;
    }
    spent += step;
    budget.step_done(step);
  }
  EXPECT_GE(throttled, 1);
  EXPECT_LE(throttled, 100 / BudgetTracker::kStepsPerThrottle);
}

TEST(BudgetTracker, DoesNotThrottleARunThatFits) {
  BudgetTracker budget(1000, OnExceeded::kThrottle);
  for (int step = 0; step < 50; ++step) {
    budget.step_done(10);
    EXPECT_EQ(budget.decide(10 * (step + 1), 49 - step), BudgetDecision::kContinue);
  }
}

TEST(BudgetTracker, StopsAtOnceWhenEarlierAttemptsSpentItAll) {
  EXPECT_EQ(BudgetTracker(1000, OnExceeded::kThrottle).decide(1001, 5), BudgetDecision::kStop);
}

TEST(BudgetTracker, RefusesWhatIsNoBudget) {
  EXPECT_THROW(BudgetTracker(0, OnExceeded::kStop), Error);
  EXPECT_THROW(BudgetTracker(10, OnExceeded::kStop).step_done(-1), Error);
}

}  // namespace
}  // namespace wattle
