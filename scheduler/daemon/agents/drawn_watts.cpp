#include "scheduler/daemon/agents/drawn_watts.h"

#include <algorithm>

namespace wattle::scheduler {
namespace {

/// Enough for a window of one report's length that ends with the newest report of a node that is
/// two behind.
constexpr size_t kMostReports = 5;

}  // namespace

void DrawnWatts::add(double at_seconds, double watts) {
  reports_.push_back({at_seconds, watts});
  if (reports_.size() > kMostReports) reports_.pop_front();
}

double DrawnWatts::mean(double from_seconds, double until_seconds) const {
  double joules = 0, at = from_seconds;
  for (const Report& report : reports_) {
    const double next = std::clamp(report.at_seconds, at, until_seconds);
    joules += report.watts * (next - at);
    at = next;
  }
  joules += reports_.back().watts * (until_seconds - at);
  return joules / (until_seconds - from_seconds);
}

}  // namespace wattle::scheduler
