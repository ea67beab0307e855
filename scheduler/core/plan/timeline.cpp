#include "scheduler/core/plan/timeline.h"

#include <algorithm>
#include <limits>

namespace wattle::scheduler {

Timeline::Timeline(double now_seconds, Amount free, std::vector<Release> releases)
    : now_seconds_(now_seconds), free_(std::move(free)), releases_(std::move(releases)) {
  std::stable_sort(releases_.begin(), releases_.end(),
                   [](const Release& a, const Release& b) { return a.seconds < b.seconds; });
}

std::optional<Timeline::Slot> Timeline::earliest(int type, int count, double watts) const {
  Amount free = free_;
  auto fits = [&] { return free.devices[type] >= count && free.watts + 1e-9 >= watts; };
  auto slot = [&](double seconds) {
    Slot found{seconds, free};
    found.spare.devices[type] -= count;
    found.spare.watts -= watts;
    return found;
  };
  if (static_cast<size_t>(type) >= free.devices.size()) return std::nullopt;
  if (fits()) return slot(now_seconds_);
  for (size_t i = 0; i < releases_.size(); ++i) {
    free.devices[releases_[i].type] += releases_[i].count;
    free.watts += releases_[i].watts;
    const bool more_now =
        i + 1 < releases_.size() && releases_[i + 1].seconds == releases_[i].seconds;
    if (!more_now && fits()) return slot(releases_[i].seconds);
  }
  return std::nullopt;
}

std::optional<double> Timeline::earliest_behind(double device_seconds, int type, int count,
                                                double watts) const {
  if (static_cast<size_t>(type) >= free_.devices.size() || count < 1) return std::nullopt;
  Amount free = free_;
  const double device_watts = watts / count;
  double since = now_seconds_;
  for (size_t i = 0;; ++i) {
    double usable = std::max(0, free.devices[type]);
    if (device_watts > 0) usable = std::clamp(free.watts / device_watts, 0.0, usable);
    const bool is_last = i == releases_.size();
    const double until = is_last ? std::numeric_limits<double>::infinity() : releases_[i].seconds;
    if (free.devices[type] >= count && free.watts + 1e-9 >= watts) {
      const double start = since + device_seconds / usable;
      if (start < until) return start;
    }
    if (is_last) return std::nullopt;
    device_seconds = std::max(0.0, device_seconds - usable * (until - since));
    free.devices[releases_[i].type] += releases_[i].count;
    free.watts += releases_[i].watts;
    since = until;
  }
}

}  // namespace wattle::scheduler
