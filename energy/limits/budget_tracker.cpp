#include "energy/limits/budget_tracker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/error.h"

namespace wattle {
namespace {

constexpr size_t kRecentSteps = 32;
/// Throttling on the strength of fewer steps would follow the first, slow ones.
constexpr size_t kStepsToProject = 5;

void require_joules(double joules, const char* what) {
  if (std::isfinite(joules) && joules >= 0) return;
  throw Error(ErrorCode::kInternal, fmt::format("energy budget: a {} of {} J", what, joules));
}

}  // namespace

BudgetTracker::BudgetTracker(double budget_joules, OnExceeded on_exceeded)
    : budget_joules_(budget_joules), on_exceeded_(on_exceeded) {
  if (!(budget_joules > 0)) {
    throw Error(ErrorCode::kConfig,
                fmt::format("energy.budget_joules: expected more than 0, got {}", budget_joules));
  }
}

void BudgetTracker::step_done(double joules) {
  require_joules(joules, "step");
  recent_steps_.push_back(joules);
  if (recent_steps_.size() > kRecentSteps) recent_steps_.pop_front();
  ++steps_since_throttle_;
}

void BudgetTracker::checkpoint_done(double joules) {
  require_joules(joules, "checkpoint");
  checkpoint_joules_ = std::max(checkpoint_joules_.value_or(0), joules);
}

void BudgetTracker::expect_checkpoint(double joules) {
  require_joules(joules, "checkpoint");
  expected_checkpoint_joules_ = joules;
}

double BudgetTracker::step_joules() const {
  return recent_steps_.empty() ? 0 : *std::ranges::max_element(recent_steps_);
}

double BudgetTracker::checkpoint_joules() const {
  const std::optional<double> known = std::max(checkpoint_joules_, expected_checkpoint_joules_);
  return known.value_or(step_joules());
}

BudgetDecision BudgetTracker::decide(double spent_joules, int64_t steps_left) {
  require_joules(spent_joules, "total");
  if (spent_joules + step_joules() + checkpoint_joules() > budget_joules_) {
    return BudgetDecision::kStop;
  }
  if (on_exceeded_ == OnExceeded::kStop || recent_steps_.size() < kStepsToProject ||
      steps_since_throttle_ < kStepsPerThrottle) {
    return BudgetDecision::kContinue;
  }
  const double mean = std::accumulate(recent_steps_.begin(), recent_steps_.end(), 0.0) /
                      static_cast<double>(recent_steps_.size());
  const double needed = static_cast<double>(steps_left) * mean + checkpoint_joules();
  if (spent_joules + needed <= budget_joules_) return BudgetDecision::kContinue;
  steps_since_throttle_ = 0;
  return BudgetDecision::kThrottle;
}

}  // namespace wattle
