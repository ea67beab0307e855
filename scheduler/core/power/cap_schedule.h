#pragma once

#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

namespace wattle::scheduler {

/// From this moment on the cap is so high.
struct CapChange {
  double seconds = 0;
  double watts = 0;
  bool operator==(const CapChange&) const = default;
};

/// As caps were kept before they went over each other: the lowest that holds counts.
struct CapWindow {
  double watts = 0;
  std::optional<double> from_seconds;
  std::optional<double> until_seconds;
};

/// The cluster's cap over time: at every moment the newest of the caps that were set for it.
class CapSchedule {
 public:
  explicit CapSchedule(double watts = 0) : base_watts_(watts) {}

  /// Goes over whatever was set before: until the end of the window, when what was set for then
  /// holds again, or, without an end, for ever. REQUIRES from < until.
  void set(double watts, double from_seconds,
           double until_seconds = std::numeric_limits<double>::infinity());

  double at(double seconds) const;
  /// The lowest cap between two moments, both included: what may be planned with when a change
  /// needs until `to_seconds` to take effect.
  double lowest(double from_seconds, double to_seconds) const;
  /// The highest cap at any moment from `seconds` on.
  double highest_from(double seconds) const;
  /// All changes after `seconds`, in order; each to another cap than the one before.
  std::vector<CapChange> changes_after(double seconds) const;
  /// Drops what is over. Nothing may be asked of earlier moments any more.
  void forget_before(double seconds);

  /// Its fields, for the journal; after reading, adopt_windows().
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("base_watts", s.base_watts_), v("changes", s.changes_);
    if constexpr (!std::is_const_v<Self>) v("windows", s.windows_);
  }
  /// Takes over what an older state has as windows.
  void adopt_windows();

 private:
  double base_watts_;               ///< before the first change
  std::vector<CapChange> changes_;  ///< ascending
  std::vector<CapWindow> windows_;  ///< of an older state
};

}  // namespace wattle::scheduler
