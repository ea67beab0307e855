#pragma once

namespace wattle::agent {

/// Holds processes at an average power by stopping them for moments, where nobody else does: on a
/// run's further nodes, whose ranks are paced from the first one, over a stream that may be cut.
/// Joules beyond the limit are a debt that is paid by a pause at idle power.
///
/// A plain state machine without a clock.
class Governor {
 public:
  /// Books an interval; whether the processes should be stopped from now on.
  bool is_over(double seconds, double joules, double limit_watts) {
    debt_joules_ += joules - limit_watts * seconds;
    const double credit = kCreditSeconds * limit_watts, debt = kDebtSeconds * limit_watts;
    if (debt_joules_ < -credit) debt_joules_ = -credit;
    is_over_ = debt_joules_ > (is_over_ ? 0 : debt);
    return is_over_;
  }

 private:
  /// What was saved earlier may be used up within a 10 s average.
  static constexpr double kCreditSeconds = 1;
  static constexpr double kDebtSeconds = 0.25;
  double debt_joules_ = 0;
  bool is_over_ = false;
};

}  // namespace wattle::agent
