#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "energy/energy_options.h"

namespace wattle {

enum class BudgetDecision {
  kContinue,
  kThrottle,  ///< the rest won't fit at this power: lower it, then go on
  kStop,      ///< save the last checkpoint now
};

/// Keeps a run to its budget of joules. Asked after every step, it says stop while the joules of
/// one more step would endanger those of the last checkpoint, so that the budget is overshot by at
/// most one step: by what a step or a checkpoint takes beyond the largest one seen lately.
///
/// A plain state machine: all ranks that feed it the same (global) joules decide alike.
class BudgetTracker {
 public:
  BudgetTracker(double budget_joules, OnExceeded on_exceeded);

  void step_done(double joules);
  void checkpoint_done(double joules);
  /// What a checkpoint may take at least (its bytes over the disk's speed, times the power): what
  /// is measured around one that is written in the background is only its copy. Without a word, and
  /// while none was saved, it counts like the dearest of the latest steps.
  void expect_checkpoint(double joules);

  /// `spent_joules`: of the whole run, earlier attempts included. kThrottle comes at most once in
  /// kStepsPerThrottle steps, so that its effect can be seen.
  BudgetDecision decide(double spent_joules, int64_t steps_left);

  double step_joules() const;        ///< the dearest of the latest steps
  double checkpoint_joules() const;  ///< expected of the next checkpoint
  double budget_joules() const { return budget_joules_; }

  static constexpr int kStepsPerThrottle = 20;

 private:
  double budget_joules_;
  OnExceeded on_exceeded_;
  std::deque<double> recent_steps_;
  std::optional<double> checkpoint_joules_;
  std::optional<double> expected_checkpoint_joules_;
  int steps_since_throttle_ = kStepsPerThrottle;
};

}  // namespace wattle
