#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "scheduler/core/policy/energy/limits.h"
#include "tests/scheduler/core/scene.h"

namespace wattle::scheduler {
namespace {

using Limits = std::vector<double>;

TEST(RaiseLimits, GivesWattsWhereTheyAreWorthMost) {
  const Worth flat{1, {100, 150, 200}, {1, 1.1, 1.1}}, steep{2, {100, 150, 200}, {1, 1.5, 1.8}};
  EXPECT_EQ(raise_limits({flat, steep}, 0), (Limits{100, 100}));
  EXPECT_EQ(raise_limits({flat, steep}, 100), (Limits{100, 150}));
  EXPECT_EQ(raise_limits({flat, steep}, 151), (Limits{100, 175})) << "whole watts of each rank";
  EXPECT_EQ(raise_limits({flat, steep}, 210), (Limits{110, 200}));
  EXPECT_EQ(raise_limits({flat, steep}, 1e6), (Limits{150, 200})) << "more is worth nothing";
}

TEST(RaiseLimits, GoesPastALimitThatIsWorthLittle) {
  const Worth late{1, {100, 150, 200}, {1, 1, 1.6}}, other{1, {100, 200}, {1, 1.5}};
  EXPECT_EQ(raise_limits({late, other}, 100), (Limits{200, 100}));
  EXPECT_EQ(raise_limits({}, 100), Limits{});
}

TEST(RaiseLimits, GivesAlikeRunsAlikeLimits) {
  const Worth narrow{1, {100, 200}, {1, 1.5}}, wide{3, {100, 200}, {3, 4.5}};
  EXPECT_EQ(raise_limits({narrow, wide, narrow}, 5 * 30), (Limits{130, 130, 130}));
}

/// Jobs of one kind: nothing does better than the same limit for all.
TEST(Energy, LeavesNoWattsThatAJobMakesProgressWith) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 200; ++round) {
    const int jobs = 1 + random() % 5;
    Scene scene(2 * jobs, 2 * jobs * static_cast<double>(75 + random() % 150));
    for (int j = 0; j < jobs; ++j) scene.job({1, 2}, 100);
    EXPECT_GE(scene.progress("energy"), scene.progress("fifo") * 0.995) << "round " << round;
  }
}

TEST(Energy, LeavesLimitsAsTheyAreWhereOthersAreHardlyBetter) {
  Scene scene(4, 4 * 125);
  for (int j = 0; j < 4; ++j) scene.running(scene.job({1}, 100, 200 + j), 1, 150);
  for (const Choice& choice : scene.choices("energy")) EXPECT_EQ(choice.point->limit_watts, 150);
  scene.snapshot.watts += 4 * 50;
  for (const Choice& choice : scene.choices("energy")) EXPECT_GE(choice.point->limit_watts, 190);
}

/// Jobs that run, on ranks and with weights at random.
struct Runs : Scene {
  explicit Runs(std::mt19937_64& random) : Scene(0, 0) {
    for (int j = 0, n = 1 + random() % 8; j < n; ++j) {
      const int ranks = 1 << random() % 4;
      std::vector<int> counts;  // none grows
      for (int count = 1; count <= ranks; count *= 2) counts.push_back(count);
      JobView& view = job(counts, 100, 120 + random() % 130);
      view.weight = 1 + random() % 20;
      running(view, ranks, 250);
      snapshot.types[0].capacity += ranks;
      on_one_rank += 75;
      on_all_ranks += 75 * ranks;
    }
  }
  double on_one_rank = 0, on_all_ranks = 0;  ///< watts of all at the lowest limit
};

TEST(Energy, LowersLimitsBeforeItShrinks) {
  std::mt19937_64 random(12);
  for (int round = 0; round < 300; ++round) {
    Runs runs(random);
    runs.snapshot.watts = runs.on_all_ranks + random() % 100;
    for (const double eta : {0.0, 0.5}) {
      const std::vector<Choice> chosen = runs.choices("energy", eta);
      for (size_t j = 0; j < chosen.size(); ++j) {
        ASSERT_TRUE(chosen[j].point) << "round " << round << " stops job " << j;
        EXPECT_GE(chosen[j].point->ranks, runs.snapshot.jobs[j].current->ranks) << round;
      }
    }
  }
}

TEST(Energy, ShrinksBeforeItStops) {
  std::mt19937_64 random(13);
  int shrunk = 0;
  for (int round = 0; round < 300; ++round) {
    Runs runs(random);
    runs.snapshot.watts = runs.on_one_rank + random() % 200;
    for (const double eta : {0.0, 0.5}) {
      const std::vector<Choice> chosen = runs.choices("energy", eta);
      for (size_t j = 0; j < chosen.size(); ++j) {
        ASSERT_TRUE(chosen[j].point) << "round " << round << " stops job " << j;
        shrunk += chosen[j].point->ranks < runs.snapshot.jobs[j].current->ranks;
      }
    }
  }
  EXPECT_GT(shrunk, 500);
}

/// What is left of a budget is less than what fewer ranks, which are thriftier, would use.
TEST(Energy, MovesNoRunForJoules) {
  for (const double left : {0.0, 300.0, 2000.0, 20000.0, 1e6}) {
    Scene scene(2, 2 * 225);
    scene.snapshot.tenants[0].joules_left = left;
    scene.snapshot.tenants[0].seconds_left = 3600;
    scene.running(scene.job({1, 2}, 1e5), 2, 250);
    EXPECT_EQ(scene.ranks("energy")[0], 2) << left;
    scene.snapshot.tenants[0].joules_left.reset();
    scene.snapshot.jobs[0].joules_left = left;
    EXPECT_EQ(scene.ranks("energy")[0], 2) << left << " of its own";
  }
}

TEST(Energy, SaysWhetherTheCapOrOthersStopARun) {
  Scene alone(2, 50);
  alone.running(alone.job({1}, 100), 1, 250);
  EXPECT_EQ(alone.reasons("energy")[0], Reason::kPowerCap);
  Scene beside(1, 225);
  beside.running(beside.job({1}, 100), 1, 250);
  beside.job({1}, 100).weight = 100;
  EXPECT_EQ(beside.reasons("energy")[0], Reason::kPreempted);
}

}  // namespace
}  // namespace wattle::scheduler
