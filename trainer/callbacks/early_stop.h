#pragma once

#include <limits>

#include "trainer/callback.h"
#include "trainer/train_options.h"

namespace wattle {

/// Ends training when the validation loss has not improved for `patience` evaluations. A loss of
/// before a change of the model (rounding begins, a width changes) is none to improve on.
class EarlyStop : public Callback {
 public:
  explicit EarlyStop(const EarlyStopOptions& options) : options_(options) {}

  bool evaluation_ends(const TrainingView& view, const MetricsRecord& record) override;
  bool has_ended() const override { return without_improvement_ >= options_.patience; }
  std::string name() const override { return "early_stop"; }
  std::string save_state() const override;
  void load_state(const std::string& state) override;

 private:
  EarlyStopOptions options_;
  double best_loss_ = std::numeric_limits<double>::infinity();
  int64_t without_improvement_ = 0;
  int64_t model_changes_ = 0;  ///< before the last evaluation
};

}  // namespace wattle
