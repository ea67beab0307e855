#include "scheduler/core/power/cap_schedule.h"

#include <algorithm>
#include <limits>

namespace wattle::scheduler {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

double from(const CapWindow& w) { return w.from_seconds.value_or(-kForever); }
double until(const CapWindow& w) { return w.until_seconds.value_or(kForever); }

}  // namespace

void CapSchedule::add(const CapWindow& window) {
  if (!window.from_seconds && !window.until_seconds) {
    base_watts_ = window.watts;
    return;
  }
  windows_.push_back(window);
}

double CapSchedule::at(double seconds) const {
  double watts = kForever;
  for (const CapWindow& w : windows_) {
    if (from(w) <= seconds && seconds < until(w)) watts = std::min(watts, w.watts);
  }
  return watts == kForever ? base_watts_ : watts;
}

// The cap is a step function that changes only at the ends of windows: the span's start and the
// edges within it are all the values there are.

double CapSchedule::lowest(double from_seconds, double to_seconds) const {
  double watts = at(from_seconds);
  for (const CapWindow& w : windows_) {
    for (double edge : {from(w), until(w)}) {
      if (edge > from_seconds && edge <= to_seconds) watts = std::min(watts, at(edge));
    }
  }
  return watts;
}

double CapSchedule::highest_from(double seconds) const {
  double watts = at(seconds);
  for (const CapWindow& w : windows_) {
    for (double edge : {from(w), until(w)}) {
      if (edge > seconds && edge < kForever) watts = std::max(watts, at(edge));
    }
  }
  return watts;
}

std::optional<double> CapSchedule::next_change(double seconds) const {
  double next = kForever;
  for (const CapWindow& w : windows_) {
    for (double edge : {from(w), until(w)}) {
      if (edge > seconds) next = std::min(next, edge);
    }
  }
  return next == kForever ? std::nullopt : std::optional(next);
}

void CapSchedule::forget_before(double seconds) {
  std::erase_if(windows_, [&](const CapWindow& w) { return until(w) <= seconds; });
}

}  // namespace wattle::scheduler
