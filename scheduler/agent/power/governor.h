#pragma once

namespace wattle::agent {

/// Holds processes at an average power by stopping them for moments. Joules beyond the limit are a
/// debt that is paid by a pause at idle power.
///
/// A plain state machine without a clock.
class Governor {
 public:
  /// `debt_seconds`: how far beyond the limit the processes may be before they are stopped, as time
  /// at the limit.
  explicit Governor(double debt_seconds) : debt_seconds_(debt_seconds) {}

  /// Books an interval; whether the processes should be stopped from now on.
  bool is_over(double seconds, double joules, double limit_watts) {
    debt_joules_ += joules - limit_watts * seconds;
    const double credit = kCreditSeconds * limit_watts, debt = debt_seconds_ * limit_watts;
    if (debt_joules_ < -credit) debt_joules_ = -credit;
    is_over_ = debt_joules_ > (is_over_ ? 0 : debt);
    return is_over_;
  }

 private:
  /// What was saved earlier may be used up within a 10 s average.
  static constexpr double kCreditSeconds = 1;
  double debt_seconds_;
  double debt_joules_ = 0;
  bool is_over_ = false;
};

}  // namespace wattle::agent
