#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compression/activations/calibrate.h"
#include "compression/quantize/quantize_callback.h"
#include "trainer/loop/evaluator.h"

namespace wattle {

/// What GPTQ did to a model at one step: its loss on the validation set in float, with nothing
/// rounded at all; with each weight that is quantised then rounded to the nearest; and by GPTQ.
/// After training the activations that are then rounded are so in both.
struct Baseline {
  int64_t step = 0;  ///< steps done then
  double float_loss = 0;
  double nearest_loss = 0;
  std::optional<double> gptq_loss = {};
};

/// Measures the model that an entry with `gptq` rounds, just before and just after it does: later
/// the float weights are gone. Its state lies beside the entry's in checkpoints and is no part of
/// the ledger.
class BaselineCallback : public Callback {
 public:
  /// `quantize`, after which the entry's other callbacks and those that this makes stand in the
  /// list, `evaluator` and `calibration` must outlive this.
  struct Parts {
    QuantizeCallback& quantize;
    const QuantizeOptions& options;
    Evaluator& evaluator;
    const CalibrationSet& calibration;
  };
  explicit BaselineCallback(const Parts& parts) : parts_(parts), options_(parts.options) {}

  void step_begins(const TrainingView& view) override {
    if (!parts_.quantize.is_active() && options_.active_at(view.step)) before(view, {});
  }
  bool works_after_training(const TrainingView& view) const override {
    return !baseline_ && parts_.quantize.begins_after_training(view);
  }
  bool training_is_done(const TrainingView& view) override;
  std::string name() const override { return "baseline." + parts_.quantize.name(); }
  std::string save_state() const override;
  void load_state(const std::string& state) override;

  const std::string& entry() const { return entry_; }
  const std::optional<Baseline>& baseline() const { return baseline_; }

  /// Called once the entry's weights have begun, at a step.
  std::unique_ptr<Callback> make_after_step();
  /// Called once all of the entry has begun, after training.
  std::unique_ptr<Callback> make_after_training();

 private:
  class AfterStep;
  class AfterTraining;
  void before(const TrainingView& view, const std::vector<ActivationSite>& activations);
  void after(const TrainingView& view);

  Parts parts_;
  QuantizeOptions options_;
  std::string entry_ = parts_.quantize.name();
  std::optional<Baseline> baseline_;
  bool awaits_gptq_ = false;
};

}  // namespace wattle
