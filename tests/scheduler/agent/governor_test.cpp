#include "scheduler/agent/power/governor.h"

#include <gmock/gmock.h>

#include <random>
#include <utility>

namespace wattle::agent {
namespace {

constexpr double kTick = 0.1, kIdle = 10, kLimit = 16;

/// Processes that draw `busy` watts when they are let, beside `others` that nobody stops.
class Machine {
 public:
  Machine(double busy, double others) : busy_(busy), others_(others) {}

  void run(double seconds) {
    for (double t = 0; t < seconds; t += kTick) {
      const double joules = (others_ + (is_stopped_ ? kIdle : busy_)) * kTick;
      joules_ += joules;
      worked_ += is_stopped_ ? 0 : kTick;
      is_stopped_ = governor_.is_over(kTick, joules, kLimit);
    }
  }
  double take_joules() { return std::exchange(joules_, 0); }
  double take_worked() { return std::exchange(worked_, 0); }
  Governor& governor() { return governor_; }
  bool is_stopped() const { return is_stopped_; }

 private:
  double busy_, others_;
  Governor governor_{1};
  bool is_stopped_ = false;
  double joules_ = 0, worked_ = 0;
};

TEST(Governor, HoldsTheLimitOverTenSeconds) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> watts(kLimit, kIdle + 10 * (kLimit - kIdle));
  for (int i = 0; i < 200; ++i) {
    Machine machine(watts(random), 0);
    machine.run(10);
    EXPECT_LT(machine.take_joules(), kLimit * (10 + 1.5)) << "the debt that starts a stop";
    machine.run(10);
    EXPECT_NEAR(machine.take_joules(), kLimit * 10, kLimit * 1.5);
    machine.run(100);
    EXPECT_NEAR(machine.take_joules(), kLimit * 100, kLimit * 1.5);
    EXPECT_EQ(machine.governor().in_vain_seconds(), 0);
  }
}

TEST(Governor, LetsAloneWhatKeepsToTheLimit) {
  Machine machine(kLimit, 0);
  machine.run(1000);
  EXPECT_NEAR(machine.take_worked(), 1000, kTick);
}

TEST(Governor, WorkGoesOnWhereOthersDrawTheLimit) {
  Machine machine(60, kLimit);
  machine.run(100);
  EXPECT_GT(machine.take_worked(), 2);
  EXPECT_LT(machine.take_worked(), 10);
  EXPECT_GT(machine.governor().in_vain_seconds(), 50);
}

TEST(Governor, ASpikeOrALongAbsenceIsPaidWithinSeconds) {
  Machine machine(kLimit, 0);
  machine.governor().is_over(600, 600 * 60, kLimit);
  machine.run(10);
  machine.take_worked();
  machine.run(10);
  EXPECT_NEAR(machine.take_worked(), 10, kTick);
}

}  // namespace
}  // namespace wattle::agent
