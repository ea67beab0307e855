// What a TrainingLoop does after its last step.
#include <algorithm>
#include <array>
#include <vector>

#include "trainer/loop/training_loop.h"

namespace wattle {

RunEnd TrainingLoop::finish() {
  const auto is_cut = [this](bool by) { return by && (!is_over() || is_end_cut_); };
  if (!is_cut(stop_asked_) && !is_cut(budget_spent_) && !parts_.governor.failure()) end_training();
  const bool stopped = is_cut(stop_asked_);
  if (!stopped && !budget_spent_ && !parts_.governor.failure() && evaluated_step_ != step_) {
    evaluate();
  }
  if (saved_step_ != step_) save();
  finish_checkpoint();
  for (const auto& callback : parts_.callbacks) callback->train_ends(view());
  if (parts_.progress) parts_.progress->finish();
  if (parts_.governor.failure()) {
    note_energy();
    throw *parts_.governor.failure();
  }
  if (is_cut(budget_spent_)) return RunEnd::kBudgetSpent;
  return stopped ? RunEnd::kStopped : RunEnd::kDone;
}

/// What is done after training counts as part of its last step. Should it fail, or be cut by a stop
/// or by the budget, the run goes on from here when it is run again.
void TrainingLoop::end_training() {
  const bool has_work = std::ranges::any_of(
      parts_.callbacks, [this](const auto& c) { return c->works_after_training(view()); });
  if (has_work && saved_step_ != step_) {
    save();
    finish_checkpoint();
  }
  bool changed = false;
  for (const auto& callback : parts_.callbacks) {
    is_end_cut_ = callback->works_after_training(view()) && !may_work();
    if (is_end_cut_) break;
    changed |= callback->training_is_done(view());
  }
  if (changed) evaluated_step_ = -1;
  if (changed || settings_.training_is_done == is_end_cut_) saved_step_ = -1;
  settings_.training_is_done = !is_end_cut_;
  is_end_cut_ |= has_work && is_stop_asked();
}

/// On any rank.
bool TrainingLoop::is_stop_asked() {
  const std::array<double, 1> mine = {parts_.stop_requested() ? 1.0 : 0.0};
  for (const std::vector<double>& rank : parts_.exchange.gather(mine)) stop_asked_ |= rank[0] > 0;
  return stop_asked_;
}

/// Whether there is to be another piece of work after training.
bool TrainingLoop::may_work() {
  if (is_stop_asked()) return false;
  book_between_steps();
  budget_spent_ = !fits(0);
  return !budget_spent_ && !parts_.governor.failure();
}

}  // namespace wattle
