#include "energy/accounting/integrator.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "tests/energy/support/fake_meter.h"

namespace wattle {
namespace {

using testing::HasSubstr;

constexpr double kLongestInterval = 1;

Integrator counter(double wraps_at_joules = 0) {
  MeterInfo info = counter_info();
  info.wraps_at_joules = wraps_at_joules;
  info.plausible_watts = 1000;
  info.stuck_after_seconds = 5;
  return Integrator(info, kLongestInterval);
}

Integrator power() { return Integrator(power_info(), kLongestInterval); }

TEST(Integrator, CountsDifferencesOfACounter) {
  Integrator gpu = counter();
  gpu.add(0, 5000);
  EXPECT_EQ(gpu.add(1, 5100), 100);
  EXPECT_EQ(gpu.add(2, 5150), 50);
  EXPECT_EQ(gpu.total().joules, 150);
  EXPECT_EQ(gpu.total().seconds, 2);
  EXPECT_EQ(gpu.total().gaps, 0);
}

TEST(Integrator, TakesTheTrapezoidUnderPower) {
  Integrator gpu = power();
  gpu.add(0, 100);
  EXPECT_EQ(gpu.add(0.5, 200), 75);
  EXPECT_EQ(gpu.total().joules, 75);
}

TEST(Integrator, FollowsACounterThroughItsWrap) {
  Integrator cpu = counter(/*wraps_at_joules=*/262143.328850);
  cpu.add(0, 262100);
  EXPECT_NEAR(cpu.add(1, 56.671150), 100, 1e-6);
  EXPECT_EQ(cpu.total().gaps, 0);
}

TEST(Integrator, MarksACounterThatWasReset) {
  for (const double range : {0.0, 262143.0}) {
    Integrator device = counter(range);
    device.add(0, 100000);
    EXPECT_EQ(device.add(1, 10), 0);
    EXPECT_EQ(device.add(2, 60), 50);
    EXPECT_EQ(device.total().gaps, 1);
    EXPECT_EQ(device.total().gap_seconds, 1);
    EXPECT_THAT(device.total().last_gap, HasSubstr("from 100000 J to 10 J"));
  }
}

TEST(Integrator, MarksACounterThatLeaps) {
  Integrator device = counter();
  device.add(0, 0);
  EXPECT_EQ(device.add(1, 1e9), 0);
  EXPECT_EQ(device.total().gaps, 1);
}

TEST(Integrator, MarksAWrappingCounterThatWasNotReadForTooLong) {
  Integrator cpu = counter(/*wraps_at_joules=*/262143);
  cpu.add(0, 0);
  EXPECT_EQ(cpu.add(600, 100), 0) << "it may have wrapped twice";
  EXPECT_EQ(cpu.total().gap_seconds, 600);
}

TEST(Integrator, MarksReadingsThatAreNoPower) {
  for (const double bad : {std::nan(""), -1.0, static_cast<double>(INFINITY)}) {
    Integrator gpu = power();
    gpu.add(0, 100);
    gpu.add(0.1, bad);
    EXPECT_EQ(gpu.add(0.2, 100), 0) << "a gap is not bridged";
    EXPECT_NEAR(gpu.add(0.3, 100), 10, 1e-9);
    EXPECT_EQ(gpu.total().gaps, 1);
    EXPECT_NEAR(gpu.total().gap_seconds, 0.2, 1e-9);
  }
}

TEST(Integrator, AMeterThatIsGoneIsAGapThatGrows) {
  Integrator gpu = power();
  gpu.add(0, 100);
  gpu.add(1, 100);
  for (int second = 2; second <= 5; ++second) gpu.fail(second, "GPU is lost");
  EXPECT_EQ(gpu.total().joules, 100);
  EXPECT_EQ(gpu.total().seconds, 5);
  EXPECT_EQ(gpu.total().gap_seconds, 4);
  EXPECT_EQ(gpu.total().gaps, 1);
  EXPECT_EQ(gpu.total().last_gap, "GPU is lost");
  EXPECT_EQ(gpu.joules_at(10), 100) << "nothing is made up for a meter that is gone";
}

TEST(Integrator, ACounterThatCameBackAddsWhatItCountedMeanwhile) {
  Integrator gpu = counter();
  gpu.add(0, 0);
  gpu.fail(1, "no answer");
  EXPECT_EQ(gpu.add(2, 300), 300);
  EXPECT_EQ(gpu.total().gap_seconds, 2);
}

TEST(Integrator, MarksACounterThatStandsStill) {
  Integrator gpu = counter();
  for (int second = 0; second <= 8; ++second) gpu.add(second, 700);
  EXPECT_EQ(gpu.total().gaps, 1);
  EXPECT_EQ(gpu.total().gap_seconds, 8);
  EXPECT_EQ(gpu.total().known_source(), Source::kUnavailable) << "0 J that nobody measured";
  gpu.add(9, 800);
  EXPECT_EQ(gpu.total().known_source(), Source::kMeasuredNvml);
}

TEST(Integrator, MarksPowerSamplesThatAreTooFarApart) {
  Integrator gpu = power();
  gpu.add(0, 100);
  EXPECT_EQ(gpu.add(1.5, 100), 0);
  EXPECT_EQ(gpu.total().gap_seconds, 1.5);
}

TEST(Integrator, MarksAClockThatStepsBack) {
  for (Integrator device : {counter(), power()}) {
    device.add(10, 50);
    device.add(11, 60);
    const double before = device.total().joules;
    EXPECT_EQ(device.add(5, 70), 0);
    EXPECT_EQ(device.total().gaps, 1);
    EXPECT_GT(device.add(5.5, 80), 0) << "it goes on from the new time";
    EXPECT_GT(device.total().joules, before);
  }
}

TEST(Integrator, CarriesOnAtTheLatestPower) {
  Integrator gpu = counter();
  gpu.add(0, 0);
  gpu.add(1, 200);
  EXPECT_EQ(gpu.joules_at(1.5), 300);
}

/// Whatever a meter answers, joules never fall and are never NaN, and gaps fit into the time.
TEST(Integrator, StaysSaneWhateverAMeterAnswers) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int trial = 0; trial < 300; ++trial) {
    Integrator device = trial % 2 ? counter(1000) : power();
    double seconds = 0;
    for (int i = 0; i < 50; ++i) {
      seconds += uniform(random) < 0.05 ? -uniform(random) : uniform(random) * 2;
      const double kind = uniform(random);
      const double before = device.total().joules;
      if (kind < 0.1) {
        device.fail(seconds, "gone");
      } else {
        device.add(seconds, kind < 0.2 ? std::nan("") : kind < 0.3 ? -5 : uniform(random) * 1000);
      }
      ASSERT_GE(device.total().joules, before);
      ASSERT_GE(device.total().gap_seconds, 0);
      ASSERT_LE(device.total().gap_seconds, device.total().seconds + 1e-9);
    }
  }
}

}  // namespace
}  // namespace wattle
