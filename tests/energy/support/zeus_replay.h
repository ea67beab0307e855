#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "energy/tuning/power_limit_tuner.h"

namespace wattle {

/// Measured training of one (network, batch size, optimizer) on one GPU under its power limits.
struct PowerCurve {
  struct Point {
    double epoch_seconds = 0, power_watts = 0;
    double epoch_joules() const { return epoch_seconds * power_watts; }
  };
  std::string name;
  std::map<double, Point> by_limit;

  const Point& unlimited() const { return by_limit.rbegin()->second; }
  std::vector<double> falling_limits() const {
    std::vector<double> limits;
    for (auto it = by_limit.rbegin(); it != by_limit.rend(); ++it) limits.push_back(it->first);
    return limits;
  }
  /// The least joules of an epoch that takes at most `max_slowdown` times the unlimited one.
  double least_epoch_joules(double max_slowdown) const {
    double least = unlimited().epoch_joules();
    for (const auto& [limit, point] : by_limit) {
      if (point.epoch_seconds <= max_slowdown * unlimited().epoch_seconds) {
        least = std::min(least, point.epoch_joules());
      }
    }
    return least;
  }
};

struct ReplayedRun {
  double seconds = 0, joules = 0, profiling_seconds = 0, limit_watts = 0;
};

/// Trains along a curve for as much work as `run_seconds` would do without a limit, the tuner
/// deciding the limit after every step of `step_seconds` (unlimited).
inline ReplayedRun replay(const PowerCurve& curve, PowerLimitTuner& tuner, double run_seconds,
                          double step_seconds) {
  ReplayedRun run;
  const double epochs = run_seconds / curve.unlimited().epoch_seconds;
  const double epochs_per_step = step_seconds / curve.unlimited().epoch_seconds;
  double done = 0;
  while (done < epochs) {
    const PowerCurve::Point& point = curve.by_limit.at(tuner.limit_watts());
    const double work = tuner.is_done() ? epochs - done : std::min(epochs_per_step, epochs - done);
    const double seconds = work * point.epoch_seconds;
    run.seconds += seconds;
    run.joules += seconds * point.power_watts;
    done += work;
    if (tuner.is_done()) continue;
    run.profiling_seconds += seconds;
    tuner.step_done(seconds, seconds * point.power_watts);
  }
  run.limit_watts = tuner.limit_watts();
  return run;
}

}  // namespace wattle
