#include "energy/tuning/power_limit_tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "common/error.h"

namespace wattle {
namespace {

/// A new limit takes a moment to act, and the meters a moment to show it.
constexpr double kSettleSeconds = 0.5;
constexpr int kFewestSteps = 3;
/// Measured curves are flat above saturation and not quite smooth: two worse limits, or a little
/// worse ones, do not mean that the bottom is passed.
constexpr double kClearlyWorse = 1.03;
constexpr int kLossesToEnd = 3;

}  // namespace

std::vector<double> limits_between(double least_watts, double most_watts, double stride_watts) {
  std::vector<double> limits;
  for (double limit = most_watts; limit > least_watts; limit -= stride_watts) {
    limits.push_back(limit);
  }
  limits.push_back(least_watts);
  return limits;
}

PowerLimitTuner::PowerLimitTuner(const EnergyOptions& options, std::vector<double> limits,
                                 double max_power_watts)
    : options_(options), limits_(std::move(limits)), max_power_watts_(max_power_watts) {
  if (limits_.empty() || !std::ranges::is_sorted(limits_, std::greater{}) ||
      options_.tune_power_limit == TuneObjective::kOff) {
    throw Error(ErrorCode::kInternal, "energy: nothing to tune, or limits that do not fall");
  }
}

double PowerLimitTuner::limit_watts() const {
  return chosen_ ? *chosen_ : limits_[profiles_.size()];
}

void PowerLimitTuner::step_done(double seconds, double joules) {
  if (!(seconds > 0) || !(joules >= 0)) {
    throw Error(ErrorCode::kInternal,
                fmt::format("energy: a step of {} s and {} J can't be profiled", seconds, joules));
  }
  if (chosen_) return;
  if (settling_seconds_ < kSettleSeconds) {
    settling_seconds_ += seconds;
    return;
  }
  ++steps_;
  seconds_ += seconds;
  joules_ += joules;
  if (steps_ >= kFewestSteps && seconds_ >= options_.tune_seconds_per_limit) profile_done();
}

void PowerLimitTuner::profile_done() {
  profiles_.push_back({limit_watts(), seconds_ / steps_, joules_ / seconds_});
  steps_ = 0;
  settling_seconds_ = seconds_ = joules_ = 0;
  const bool was_last = profiles_.size() == limits_.size();
  losses_in_a_row_ = is_losing(profiles_.back()) ? losses_in_a_row_ + 1 : 0;
  if (was_last || losses_in_a_row_ == kLossesToEnd) chosen_ = profiles_[best()].limit_watts;
}

bool PowerLimitTuner::is_losing(const LimitProfile& profile) const {
  return !is_allowed(profile) || cost_of(profile) > kClearlyWorse * cost_of(profiles_[best()]);
}

double PowerLimitTuner::cost_of(const LimitProfile& profile) const {
  if (options_.tune_power_limit == TuneObjective::kEnergy) return profile.step_joules();
  return (options_.eta * profile.power_watts + (1 - options_.eta) * max_power_watts_) *
         profile.step_seconds;
}

bool PowerLimitTuner::is_allowed(const LimitProfile& profile) const {
  return options_.tune_power_limit != TuneObjective::kEnergy ||
         profile.step_seconds <= options_.max_slowdown * profiles_.front().step_seconds;
}

size_t PowerLimitTuner::best() const {
  size_t best = 0;
  for (size_t i = 1; i < profiles_.size(); ++i) {
    if (is_allowed(profiles_[i]) && cost_of(profiles_[i]) < cost_of(profiles_[best])) best = i;
  }
  return best;
}

}  // namespace wattle
