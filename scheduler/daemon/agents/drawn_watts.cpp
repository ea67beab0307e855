#include "scheduler/daemon/agents/drawn_watts.h"

#include <algorithm>

namespace wattle::scheduler {

void DrawnWatts::add(double at_seconds, double watts, double keep_seconds) {
  reports_.push_back({at_seconds, watts});
  // A report tells of the time since the one before it.
  while (reports_.front().at_seconds < at_seconds - keep_seconds) reports_.pop_front();
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
