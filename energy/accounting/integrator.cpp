#include "energy/accounting/integrator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace wattle {
namespace {

/// A counter that is renewed now and then may add a whole period's joules within a moment.
constexpr double kCounterSlackSeconds = 1;
/// Power of a counter over a shorter interval says more about its renewal than about the load.
constexpr double kShortestPowerInterval = 0.01;

}  // namespace

Integrator::Integrator(const MeterInfo& info, double longest_interval_seconds)
    : info_(info), longest_interval_seconds_(longest_interval_seconds) {
  total_.device = info.device;
  total_.source = info.source;
  latest_watts_ = info.idle_watts.value_or(0);
}

double Integrator::add(double seconds, double reading) {
  if (!std::isfinite(reading) || reading < 0) {
    fail(seconds, fmt::format("a reading of {}", reading));
    return 0;
  }
  const Sample now{seconds, reading};
  const bool is_in_order = advance(seconds);
  const bool after_gap = std::exchange(is_open_, false);
  double joules = 0;
  if (last_ && is_in_order && seconds >= last_->seconds) {
    joules =
        info_.reading == Reading::kJoules ? add_counter(now, after_gap) : add_power(now, after_gap);
  } else {
    moved_at_ = seconds;
  }
  total_.joules += joules;
  last_ = now;
  return joules;
}

void Integrator::fail(double seconds, const std::string& why) {
  if (!std::exchange(is_open_, true)) {
    opened_at_ = seconds;
    // The time since the last reading, too, has no energy that anyone could vouch for.
    mark_gap(why, 0);
    latest_watts_ = 0;
  }
  advance(seconds);
}

double Integrator::open_gap_seconds() const {
  // Not 0 from the first failed reading on.
  constexpr double kJustOpened = 1e-9;
  if (is_open_) return std::max(kJustOpened, *at_ - opened_at_);
  if (info_.reading == Reading::kWatts || !last_) return 0;
  const double still = last_->seconds - moved_at_;
  return still > info_.stuck_after_seconds ? still : 0;
}

double Integrator::joules_at(double seconds) const {
  if (!last_ || is_open_) return total_.joules;
  return total_.joules + latest_watts_ * std::max(0.0, seconds - last_->seconds);
}

/// Books the time up to `seconds`; false if the clock stepped back.
bool Integrator::advance(double seconds) {
  const double interval = at_ ? seconds - *at_ : 0;
  at_ = seconds;
  if (interval < 0) {
    mark_gap(fmt::format("the clock stepped back by {} s", -interval), 0);
    return false;
  }
  total_.seconds += interval;
  if (is_open_) total_.gap_seconds += interval;
  return true;
}

/// What a counter's change means in joules; nothing if it can't be explained.
std::optional<double> Integrator::counted(double delta, double interval) const {
  const double plausible = info_.plausible_watts * (interval + kCounterSlackSeconds);
  if (delta < 0 && info_.wraps_at_joules > 0) delta += info_.wraps_at_joules;
  // Within this time the counter may have wrapped once more than its readings show.
  if (info_.wraps_at_joules > 0 && plausible >= info_.wraps_at_joules) return std::nullopt;
  if (delta < 0 || delta > plausible) return std::nullopt;
  return delta;
}

double Integrator::add_counter(const Sample& now, bool after_gap) {
  const double interval = now.seconds - last_->seconds;
  const std::optional<double> joules = counted(now.reading - last_->reading, interval);
  if (!joules) {
    mark_gap(fmt::format("the counter went from {} J to {} J within {:.3f} s", last_->reading,
                         now.reading, interval),
             after_gap ? 0 : interval);
    moved_at_ = now.seconds;
    return 0;
  }
  if (interval >= kShortestPowerInterval) latest_watts_ = *joules / interval;
  watch_for_standstill(now, *joules);
  return *joules;
}

void Integrator::watch_for_standstill(const Sample& now, double delta) {
  if (delta > 0) moved_at_ = now.seconds;
  const double limit = moved_at_ + info_.stuck_after_seconds;
  if (now.seconds <= limit) return;
  if (last_->seconds <= limit) {
    mark_gap(fmt::format("the counter stands still for {:.1f} s", now.seconds - moved_at_),
             now.seconds - moved_at_);
  } else {
    total_.gap_seconds += now.seconds - last_->seconds;
  }
}

double Integrator::add_power(const Sample& now, bool after_gap) {
  const double interval = now.seconds - last_->seconds;
  latest_watts_ = now.reading;
  if (after_gap) return 0;
  if (interval > longest_interval_seconds_) {
    mark_gap(fmt::format("no reading for {:.3f} s", interval), interval);
    return 0;
  }
  return (last_->reading + now.reading) / 2 * interval;
}

void Integrator::mark_gap(const std::string& why, double gap_seconds) {
  ++total_.gaps;
  total_.last_gap = why;
  total_.gap_seconds += gap_seconds;
}

}  // namespace wattle
