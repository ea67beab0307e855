#include "scheduler/core/power/cap_schedule.h"

#include <algorithm>
#include <utility>

namespace wattle::scheduler {

void CapSchedule::set(double watts, double from_seconds, double until_seconds) {
  const double watts_after = at(until_seconds);
  std::vector<CapChange> changes;
  const auto add = [&](const CapChange& change) {
    const double before = changes.empty() ? base_watts_ : changes.back().watts;
    if (change.watts != before) changes.push_back(change);
  };
  for (const CapChange& change : changes_) {
    if (change.seconds < from_seconds) add(change);
  }
  add({from_seconds, watts});
  if (until_seconds < std::numeric_limits<double>::infinity()) add({until_seconds, watts_after});
  for (const CapChange& change : changes_) {
    if (change.seconds > until_seconds) add(change);
  }
  changes_ = std::move(changes);
}

double CapSchedule::at(double seconds) const {
  double watts = base_watts_;
  for (const CapChange& change : changes_) {
    if (change.seconds <= seconds) watts = change.watts;
  }
  return watts;
}

double CapSchedule::lowest(double from_seconds, double to_seconds) const {
  double watts = at(from_seconds);
  for (const CapChange& change : changes_after(from_seconds)) {
    if (change.seconds <= to_seconds) watts = std::min(watts, change.watts);
  }
  return watts;
}

double CapSchedule::highest_from(double seconds) const {
  double watts = at(seconds);
  for (const CapChange& change : changes_after(seconds)) watts = std::max(watts, change.watts);
  return watts;
}

std::vector<CapChange> CapSchedule::changes_after(double seconds) const {
  const auto first = std::find_if(changes_.begin(), changes_.end(), [&](const CapChange& change) {
    return change.seconds > seconds;
  });
  return {first, changes_.end()};
}

void CapSchedule::forget_before(double seconds) {
  if (changes_.empty() || changes_.front().seconds > seconds) return;
  base_watts_ = at(seconds);
  changes_ = changes_after(seconds);
}

void CapSchedule::adopt_windows() {
  constexpr double kForever = std::numeric_limits<double>::infinity();
  std::stable_sort(windows_.begin(), windows_.end(),
                   [](const CapWindow& a, const CapWindow& b) { return a.watts > b.watts; });
  for (const CapWindow& window : std::exchange(windows_, {})) {
    set(window.watts, window.from_seconds.value_or(-kForever),
        window.until_seconds.value_or(kForever));
  }
}

}  // namespace wattle::scheduler
