#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "energy/energy_options.h"

namespace wattle {

/// What training is like under one power limit.
struct LimitProfile {
  double limit_watts = 0;
  double step_seconds = 0;
  double power_watts = 0;  ///< average
  double step_joules() const { return step_seconds * power_watts; }
};

/// The limits to profile: from `most` down to `least` in strides, both included.
std::vector<double> limits_between(double least_watts, double most_watts, double stride_watts);

/// Finds the best power limit while training goes on (after Zeus, You et al., NSDI'23): a few
/// seconds of steps under each limit from the highest down, then the best of them for the rest.
///
/// Best is, with objective `cost`, the least of (η·P + (1-η)·P_max)·t for average power P and step
/// time t; with `energy`, the least P·t among the limits whose t is at most max_slowdown times that
/// of the highest limit. Profiling ends early after three limits in a row that are past
/// max_slowdown or clearly worse than the best so far: beyond the bottom of the curve, lower limits
/// can't win.
///
/// A plain state machine: ranks that feed it the same (global) figures go through the same limits.
class PowerLimitTuner {
 public:
  /// `limits`: falling, at least one. `max_power_watts`: P_max, of the same devices whose joules
  /// step_done gets. Throws Error(kInternal) on other limits, or if options don't ask for tuning.
  PowerLimitTuner(const EnergyOptions& options, std::vector<double> limits, double max_power_watts);

  /// The limit to be in force now.
  double limit_watts() const;
  bool is_done() const { return chosen_.has_value(); }

  /// Books a step under limit_watts(); the limit may be another one afterwards.
  void step_done(double seconds, double joules);

  const std::vector<LimitProfile>& profiles() const { return profiles_; }

 private:
  double cost_of(const LimitProfile& profile) const;
  bool is_allowed(const LimitProfile& profile) const;
  bool is_losing(const LimitProfile& profile) const;
  size_t best() const;
  void profile_done();

  EnergyOptions options_;
  std::vector<double> limits_;
  double max_power_watts_;
  std::vector<LimitProfile> profiles_;
  std::optional<double> chosen_;
  int losses_in_a_row_ = 0;
  // Of the limit that is being profiled:
  int steps_ = 0;
  double settling_seconds_ = 0;
  double seconds_ = 0, joules_ = 0;
};

}  // namespace wattle
