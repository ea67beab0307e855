#include "energy/tuning/power_limit_tuner.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "common/error.h"
#include "tests/energy/support/zeus_replay.h"

namespace wattle {
namespace {

using testing::ElementsAre;

EnergyOptions tuning(TuneObjective objective) {
  EnergyOptions options;
  options.tune_power_limit = objective;
  return options;
}

/// Throughput grows with the cube root of the power above static power, up to saturation.
PowerCurve generated_curve(double static_watts, double saturated_watts) {
  PowerCurve curve;
  for (const double limit : limits_between(100, 300, 25)) {
    const double drawn = std::min(limit, saturated_watts);
    const double speed = std::cbrt((drawn - static_watts) / (saturated_watts - static_watts));
    curve.by_limit[limit] = {100 / speed, drawn};
  }
  return curve;
}

ReplayedRun tune(const PowerCurve& curve, const EnergyOptions& options, double run_seconds) {
  PowerLimitTuner tuner(options, curve.falling_limits(), curve.by_limit.rbegin()->first);
  return replay(curve, tuner, run_seconds, /*step_seconds=*/0.1);
}

TEST(LimitsBetween, FallInStridesToTheLeast) {
  EXPECT_THAT(limits_between(100, 180, 25), ElementsAre(180, 155, 130, 105, 100));
  EXPECT_THAT(limits_between(100, 100, 25), ElementsAre(100));
}

TEST(PowerLimitTuner, FindsTheLeastEnergyWithinTheSlowdown) {
  std::mt19937 random(2);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int trial = 0; trial < 200; ++trial) {
    const PowerCurve curve =
        generated_curve(20 + 60 * uniform(random), 150 + 150 * uniform(random));
    EnergyOptions options = tuning(TuneObjective::kEnergy);
    options.max_slowdown = 1 + 0.5 * uniform(random);
    const ReplayedRun run = tune(curve, options, 3600);
    EXPECT_NEAR(curve.by_limit.at(run.limit_watts).epoch_joules(),
                curve.least_epoch_joules(options.max_slowdown), 1e-6);
    EXPECT_LE(run.seconds, 3600 * options.max_slowdown + 30);
  }
}

TEST(PowerLimitTuner, FindsTheLeastCost) {
  const PowerCurve curve = generated_curve(50, 300);
  for (const double eta : {0.0, 0.3, 0.7, 1.0}) {
    EnergyOptions options = tuning(TuneObjective::kCost);
    options.eta = eta;
    const auto cost = [&](double limit) {
      const PowerCurve::Point& point = curve.by_limit.at(limit);
      return (eta * point.power_watts + (1 - eta) * 300) * point.epoch_seconds;
    };
    const double chosen = tune(curve, options, 3600).limit_watts;
    for (const auto& [limit, point] : curve.by_limit) EXPECT_LE(cost(chosen), cost(limit) + 1e-9);
  }
}

TEST(PowerLimitTuner, TimeAloneWantsNoLimit) {
  EnergyOptions options = tuning(TuneObjective::kCost);
  options.eta = 0;
  EXPECT_EQ(tune(generated_curve(50, 300), options, 3600).limit_watts, 300);
}

TEST(PowerLimitTuner, DoesNotProfileLimitsThatCannotWin) {
  EnergyOptions options = tuning(TuneObjective::kEnergy);
  PowerLimitTuner tuner(options, limits_between(100, 300, 25), 300);
  replay(generated_curve(50, 300), tuner, 3600, 0.1);
  EXPECT_EQ(tuner.profiles().size(), 5u) << "three of nine from 250 W down are 5 % slower";
}

TEST(PowerLimitTuner, ProfilesEachLimitForTheSecondsThatAreGiven) {
  EnergyOptions options = tuning(TuneObjective::kCost);
  options.tune_seconds_per_limit = 2;
  PowerLimitTuner tuner(options, {300, 275}, 300);
  double seconds = 0;
  while (tuner.limit_watts() == 300 && !tuner.is_done()) {
    tuner.step_done(0.1, 25);
    seconds += 0.1;
  }
  EXPECT_NEAR(seconds, 2.5, 0.2) << "half a second to settle, two to measure";
  EXPECT_NEAR(tuner.profiles()[0].step_seconds, 0.1, 1e-9);
  EXPECT_NEAR(tuner.profiles()[0].power_watts, 250, 1e-9);
}

TEST(PowerLimitTuner, RefusesWhatCannotBeTuned) {
  EXPECT_THROW(PowerLimitTuner(tuning(TuneObjective::kCost), {}, 300), Error);
  EXPECT_THROW(PowerLimitTuner(tuning(TuneObjective::kCost), {100, 200}, 300), Error);
  EXPECT_THROW(PowerLimitTuner(tuning(TuneObjective::kOff), {200}, 300), Error);
  PowerLimitTuner tuner(tuning(TuneObjective::kCost), {200}, 300);
  EXPECT_THROW(tuner.step_done(0, 1), Error);
  EXPECT_THROW(tuner.step_done(1, std::nan("")), Error);
}

}  // namespace
}  // namespace wattle
