// How far the integrated joules are from the exact integral, at the sampling rate that ships.

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "energy/accounting/energy_monitor.h"
#include "energy/accounting/sample_schedule.h"
#include "tests/energy/support/fake_clock.h"
#include "tests/energy/support/fake_meter.h"

namespace wattle {
namespace {

constexpr double kSeconds = 60;

/// Power over time and the exact area below it.
struct Load {
  std::function<double(double)> watts;
  double joules;
};

Load steps(double period, double duty, double low, double high) {
  return {[=](double t) { return std::fmod(t, period) < duty * period ? high : low; },
          kSeconds * (duty * high + (1 - duty) * low)};
}

Load ramps(double period, double low, double high) {
  return {[=](double t) { return low + (high - low) * std::fmod(t, period) / period; },
          kSeconds * (low + high) / 2};
}

/// Relative error of a monitor that reads power on the schedule that ships, from `start` on.
double error_of(const Load& load, double start) {
  const auto seed = static_cast<unsigned>(1 + 1000 * start);
  FakeClock clock;
  EnergyOptions options;
  const auto watts = [&] { return load.watts(clock.now_seconds() + start); };
  EnergyMonitor monitor(one_meter(power_info(), watts), options, clock,
                        EnergyMonitor::Sampling::kByHand);
  SampleSchedule schedule(options.sample_interval_seconds, seed);
  while (clock.now_seconds() < kSeconds) {
    clock.set(std::min(kSeconds, clock.now_seconds() + schedule.next_wait_seconds()));
    monitor.sample();
  }
  return std::abs(monitor.joules_now() - load.joules) / load.joules;
}

/// The parameter shifts the load against the samples.
class IntegrationError : public testing::TestWithParam<double> {};

TEST_P(IntegrationError, OfStepsIsBelowOnePercent) {
  EXPECT_LT(error_of(steps(10, 0.5, 60, 300), GetParam()), 0.01);
  EXPECT_LT(error_of(steps(1, 0.5, 60, 300), GetParam()), 0.01);
  EXPECT_LT(error_of(steps(0.25, 0.4, 60, 300), GetParam()), 0.01);
}

TEST_P(IntegrationError, OfRampsIsBelowOnePercent) {
  EXPECT_LT(error_of(ramps(60, 60, 300), 0), 0.001);
  EXPECT_LT(error_of(ramps(1, 60, 300), GetParam()), 0.01);
}

TEST_P(IntegrationError, OfSpikesIsBelowOnePercent) {
  EXPECT_LT(error_of(steps(2, 0.05, 80, 400), GetParam()), 0.01);   // 100 ms every 2 s
  EXPECT_LT(error_of(steps(0.5, 0.1, 80, 400), GetParam()), 0.01);  // 50 ms every 0.5 s
}

INSTANTIATE_TEST_SUITE_P(Shifts, IntegrationError, testing::Range(0.0, 0.5, 0.037));

}  // namespace
}  // namespace wattle
