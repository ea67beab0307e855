#include "energy/limits/power_capper.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "common/error.h"
#include "tests/energy/support/fake_clock.h"

namespace wattle {
namespace {

/// A machine that works in steps and meters itself exactly: idle_watts while it pauses.
class Machine final : public Clock {
 public:
  explicit Machine(double idle_watts) : idle_watts_(idle_watts) {}
  double now_seconds() override { return points_.back().seconds; }
  void sleep_for(double seconds) override { draw(seconds, idle_watts_); }
  void draw(double seconds, double watts) {
    points_.push_back({now_seconds() + seconds, joules() + seconds * watts});
  }
  double joules() const { return points_.back().joules; }

  /// The highest and the lowest average over any window of that length from `begin` on.
  std::pair<double, double> extremes(double begin, double window_seconds) const {
    double highest = 0, lowest = 1e18;
    for (double t = begin; t + window_seconds <= points_.back().seconds; t += 0.05) {
      const double watts = (joules_at(t + window_seconds) - joules_at(t)) / window_seconds;
      highest = std::max(highest, watts);
      lowest = std::min(lowest, watts);
    }
    return {highest, lowest};
  }

 private:
  struct Point {
    double seconds = 0, joules = 0;
  };
  double joules_at(double seconds) const {
    const auto after = std::ranges::lower_bound(points_, seconds, {}, &Point::seconds);
    if (after == points_.begin()) return after->joules;
    const auto from = after - 1;
    const double span = after->seconds - from->seconds;
    return from->joules + (after->joules - from->joules) * (seconds - from->seconds) / span;
  }
  double idle_watts_;
  std::vector<Point> points_ = {{}};
};

struct Load {
  double step_seconds, watts;
  int pieces;     // pace() is called after each
  double jitter;  // relative
};

void train(Machine& machine, PowerCapper& capper, const Load& load, double until_seconds) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> noise(1 - load.jitter, 1 + load.jitter);
  while (machine.now_seconds() < until_seconds) {
    for (int piece = 0; piece < load.pieces; ++piece) {
      machine.draw(load.step_seconds / load.pieces * noise(random), load.watts * noise(random));
      capper.pace([] { return false; });
    }
    capper.step_done({machine.joules(), 0});
  }
}

class PowerCap : public testing::TestWithParam<Load> {};

/// The promise: over any 10 s, or five steps if those are longer, within 5 % of the cap.
TEST_P(PowerCap, IsHeldOverAnyWindow) {
  const Load load = GetParam();
  Machine machine(/*idle_watts=*/30);
  PowerCapper capper(30, machine);
  const double cap = 100;
  capper.set_cap(cap);
  const double period = load.step_seconds * (load.watts - 30) / (cap - 30);
  const double window = std::max(10.0, 5 * period);
  train(machine, capper, load, 12 * window);
  const auto [highest, lowest] = machine.extremes(2 * period, window);
  EXPECT_LT(highest, 1.05 * cap);
  EXPECT_GT(lowest, 0.95 * cap);
}

INSTANTIATE_TEST_SUITE_P(Loads, PowerCap,
                         testing::Values(Load{0.01, 200, 1, 0.0}, Load{0.2, 150, 1, 0.2},
                                         Load{0.5, 300, 2, 0.02}, Load{0.5, 300, 4, 0.1},
                                         Load{1.0, 200, 4, 0.1}, Load{3.0, 180, 8, 0.1},
                                         Load{20.0, 250, 16, 0.05}));

TEST(PowerCapper, DoesNotSlowALoadBelowTheCap) {
  Machine machine(30);
  PowerCapper capper(30, machine);
  capper.set_cap(100);
  train(machine, capper, {0.1, 90, 1, 0}, 20);
  EXPECT_NEAR(machine.joules() / machine.now_seconds(), 90, 1e-6);
}

/// Counters move in small jumps: the watts of the fraction of a millisecond between a callback and
/// its step are mostly zero, and now and then many times what is drawn.
TEST(PowerCapper, IsNotMisledByShortObservations) {
  constexpr double kJump = 0.5;
  Machine machine(5);
  PowerCapper capper(5, machine);
  capper.set_cap(25);
  const auto counter = [&] { return std::floor(machine.joules() / kJump) * kJump; };
  while (machine.now_seconds() < 120) {
    machine.draw(0.0002, 40);
    capper.step_done({counter(), 0});
    machine.draw(0.1, 40);
    capper.pace([] { return false; });
    capper.step_done({counter(), 0});
  }
  const auto [highest, lowest] = machine.extremes(10, 10);
  EXPECT_LT(highest, 1.05 * 25);
  EXPECT_GT(lowest, 0.95 * 25);
}

TEST(PowerCapper, DoesNothingWithoutACap) {
  Machine machine(30);
  PowerCapper capper(30, machine);
  train(machine, capper, {0.1, 500, 1, 0}, 5);
  EXPECT_NEAR(machine.joules() / machine.now_seconds(), 500, 1e-6);
  EXPECT_FALSE(capper.cap_watts());
}

TEST(PowerCapper, FollowsACapThatChangesWhileItRuns) {
  Machine machine(30);
  PowerCapper capper(30, machine);
  capper.set_cap(150);
  train(machine, capper, {0.1, 200, 1, 0.1}, 30);
  capper.set_cap(60);
  train(machine, capper, {0.1, 200, 1, 0.1}, 60);
  const auto [highest, lowest] = machine.extremes(31, 10);
  EXPECT_LT(highest, 63);
  EXPECT_GT(lowest, 57);
  capper.set_cap({});
  const double before = machine.joules(), began = machine.now_seconds();
  train(machine, capper, {0.1, 200, 1, 0}, 80);
  EXPECT_NEAR((machine.joules() - before) / (machine.now_seconds() - began), 200, 1e-6);
}

TEST(PowerCapper, HoldsTheCapEvenIfTheFloorIsUnknown) {
  Machine machine(/*idle_watts=*/30);
  PowerCapper capper(/*floor_watts=*/0, machine);
  capper.set_cap(100);
  train(machine, capper, {0.2, 200, 2, 0.1}, 60);
  const auto [highest, lowest] = machine.extremes(5, 10);
  EXPECT_LT(highest, 105);
  EXPECT_GT(lowest, 95);
}

TEST(PowerCapper, RefusesACapBelowTheFloorAndKeepsTheOldOne) {
  FakeClock clock;
  PowerCapper capper(50, clock);
  EXPECT_THROW(capper.set_cap(50), Error);
  EXPECT_FALSE(capper.cap_watts());
  capper.set_cap(80);
  EXPECT_THROW(capper.set_cap(40), Error);
  EXPECT_EQ(capper.cap_watts(), 80);
}

TEST(PowerCapper, ThrottlesByAStepButNeverToTheFloor) {
  Machine machine(30);
  PowerCapper capper(30, machine);
  train(machine, capper, {0.1, 200, 1, 0}, 5);
  EXPECT_NEAR(capper.throttle(), 170, 1);
  for (int i = 0; i < 30; ++i) capper.throttle();
  EXPECT_GT(*capper.cap_watts(), 30);
}

TEST(PowerCapper, APauseEndsWhenTheRunIsToldToStop) {
  Machine machine(30);
  PowerCapper capper(30, machine);
  capper.set_cap(31);
  capper.step_done({0, 0});
  machine.draw(10, 500);
  capper.step_done({machine.joules(), 0});
  int asked = 0;
  EXPECT_LT(capper.pace([&] { return ++asked > 3; }), 0.5);
}

TEST(PowerCap, LearnsFromPausesWhatCantBeHeld) {
  FakeClock clock;
  PowerCapper capper(/*floor_watts=*/0, clock);
  capper.set_cap(50);
  capper.pause_seen(62);
  capper.pause_seen(60);
  EXPECT_TRUE(capper.can_hold()) << "two pauses may have been disturbed";
  capper.pause_seen(61);
  EXPECT_FALSE(capper.can_hold());
  EXPECT_EQ(capper.floor_watts(), 60);
  EXPECT_THROW(capper.set_cap(55), Error);
  capper.set_cap(70);
  EXPECT_TRUE(capper.can_hold());
}

TEST(PowerCap, NoPauseIsEndlessWhereIdlePowerIsUnknown) {
  Machine machine(/*idle_watts=*/60);
  PowerCapper capper(/*floor_watts=*/0, machine);
  capper.set_cap(50);
  for (int step = 0; step < 50; ++step) {
    machine.draw(0.05, 100);
    EXPECT_LE(capper.pace([] { return false; }), 2.0 + 1e-9);
    capper.step_done({machine.joules(), 0});
  }
}

}  // namespace
}  // namespace wattle
