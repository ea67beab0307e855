#pragma once

#include <algorithm>

namespace wattle::agent {

/// Holds processes at an average power by stopping them for moments. Joules beyond the limit are a
/// debt that is paid by a pause at idle power. Where the limit is exceeded though they are stopped,
/// for others draw it too, they still work a little.
///
/// A plain state machine without a clock.
class Governor {
 public:
  /// `debt_seconds`: how far beyond the limit the processes may be before they are stopped, as time
  /// at the limit.
  explicit Governor(double debt_seconds) : debt_seconds_(debt_seconds) {}

  /// Books an interval; whether the processes should be stopped from now on.
  bool is_over(double seconds, double joules, double limit_watts) {
    const double excess = joules - limit_watts * seconds;
    stopped_seconds_ = is_over_ ? stopped_seconds_ + seconds : 0;
    in_vain_seconds_ = is_over_ ? (excess > 0 ? in_vain_seconds_ + seconds : 0) : in_vain_seconds_;
    debt_joules_ = std::clamp(debt_joules_ + excess, -kCreditSeconds * limit_watts,
                              kMostDebtSeconds * limit_watts);
    is_over_ = debt_joules_ > (is_over_ ? 0 : debt_seconds_ * limit_watts) &&
               stopped_seconds_ < kLongestStopSeconds;
    return is_over_;
  }

  /// For how long the limit has been exceeded while they were stopped.
  double in_vain_seconds() const { return in_vain_seconds_; }

 private:
  /// What was saved earlier may be used up within a 10 s average, and what is owed is paid within
  /// it.
  static constexpr double kCreditSeconds = 1;
  static constexpr double kMostDebtSeconds = 2;
  /// A tick of work after it is less than the lowest limit has.
  static constexpr double kLongestStopSeconds = 4;
  double debt_seconds_;
  double debt_joules_ = 0;
  bool is_over_ = false;
  double stopped_seconds_ = 0, in_vain_seconds_ = 0;
};

}  // namespace wattle::agent
