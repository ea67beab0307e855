#pragma once

#include <optional>
#include <vector>

namespace wattle::scheduler {

/// A cap in watts from one moment until another (none = always).
struct CapWindow {
  double watts = 0;
  std::optional<double> from_seconds;
  std::optional<double> until_seconds;
};

/// The cluster's cap over time. The newest open-ended cap holds where no window does; where windows
/// overlap, the lowest of them holds.
class CapSchedule {
 public:
  explicit CapSchedule(double watts = 0) : base_watts_(watts) {}

  void add(const CapWindow& window);

  double at(double seconds) const;
  /// The lowest cap between two moments, both included: what may be planned with when a change
  /// needs until `to_seconds` to take effect.
  double lowest(double from_seconds, double to_seconds) const;
  /// The highest cap at any moment from `seconds` on.
  double highest_from(double seconds) const;
  /// The next moment after `seconds` at which the cap changes.
  std::optional<double> next_change(double seconds) const;
  /// Drops windows that are over.
  void forget_before(double seconds);

  /// Its fields, for the journal.
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("base_watts", s.base_watts_), v("windows", s.windows_);
  }

 private:
  double base_watts_;
  std::vector<CapWindow> windows_;
};

}  // namespace wattle::scheduler
