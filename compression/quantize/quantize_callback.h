#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "compression/calibration/calibration_set.h"
#include "compression/quantize/weight_quantizer.h"
#include "compression/widths/adaptive_widths.h"
#include "compression/widths/assign_widths.h"
#include "trainer/callback.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {

/// Quantisation-aware training as a callback: between begin_step and end_step the weights that
/// forward reads are rounded to the format that they will be deployed in.
///
/// Acts alike on all ranks: what it does is a function of the step and of the master values.
class QuantizeCallback : public Callback {
 public:
  /// `name` tells the entries of a run's list apart ("compression.0.quantize") and is the place in
  /// the file that messages name. `model` and `parameters` must outlive this, and not be
  /// published any more once this is gone. Throws Error(kConfig) as weight_targets() does.
  /// `calibration` may be null where the options ask for no samples; `budget_joules` is the run's;
  /// `shards` the weights of the model that are parts.
  QuantizeCallback(std::string name, const QuantizeOptions& options, const Model& model,
                   FlatParameters& parameters, const CalibrationSet* calibration,
                   std::optional<double> budget_joules = {}, const WeightShards& shards = {});

  /// Throws Error(kConfig) where weights that were rounded after an early stop, before begin_step,
  /// would be trained on.
  void step_begins(const TrainingView& view) override;
  void step_ends(const TrainingView& view, const MetricsRecord& record) override;
  /// What was to be quantised by the run's last step and is not yet, is quantised now:
  /// post-training quantisation, with begin_step: train.steps, for which an entry with the same
  /// weights ends, or after an early stop where no other entry rounds them. Nothing is learned of
  /// scales then: they follow from the format's own rule. All else stays as the last step left it.
  bool training_is_done(const TrainingView& view) override;
  /// Whether that is so.
  bool begins_after_training(const TrainingView& view) const;
  bool works_after_training(const TrainingView& view) const override {
    return begins_after_training(view);
  }
  int64_t model_changes() const override { return static_cast<int64_t>(events_.size()); }
  /// Where `next`, which begins later, has weights of this one, at most one of the two rounds them
  /// after training. Must be called for all such pairs, and both live until training is done.
  void give_way_to(QuantizeCallback& next);

  std::string name() const override { return name_; }
  /// What is active, enough to round the weights of a checkpoint again (see saved_quantizer.h), and
  /// what happened at which step: this entry's part of the compression ledger, and under
  /// kResumeKey what is not.
  std::string save_state() const override;
  /// Activates what was active, with scales that the checkpoint's tensors must then fill.
  void load_state(const std::string& state) override;

  WeightQuantizer& quantizer() { return quantizer_; }
  const WeightQuantizer& quantizer() const { return quantizer_; }
  bool is_active() const { return active_; }
  /// Whether GPTQ rounded the weights after `steps` steps, the last ones: nothing was trained
  /// since.
  bool ends_with_gptq(int64_t steps) const {
    return active_ && options_.gptq && began_at() == steps;
  }
  /// What the sensitivity scan found; empty without one. WidthScanCallback keeps it over attempts.
  const std::vector<WidthAssignment>& widths() const { return widths_; }
  void set_widths(std::vector<WidthAssignment> widths) { widths_ = std::move(widths); }
  /// The budget within which formats are chosen; nullptr without one.
  const WidthOptions* width_options() const {
    return options_.widths ? &*options_.widths : nullptr;
  }
  /// How formats changed since, over all attempts; nullptr where they don't.
  const AdaptiveWidths* adaptive() const { return adaptive_ ? &*adaptive_ : nullptr; }
  /// Enters something into the ledger; the same on every rank, no times, paths or joules.
  void note(int64_t step, std::string what) { events_.emplace_back(step, std::move(what)); }

 private:
  void set_active(bool active);
  void begin(const TrainingView& view);
  void check_began_in_time(int64_t step) const;
  bool is_due_after_training(const TrainingView& view) const;
  const QuantizeCallback* still_rounding(const TrainingView& view) const;
  const QuantizeCallback* successor(const TrainingView& view) const;
  void stay_out(const TrainingView& view, const QuantizeCallback& other);
  void tell(const TrainingView& view, const std::string& what) const;
  std::optional<int64_t> began_at() const;
  void choose_formats(const TrainingView& view);
  void adapt_formats(const TrainingView& view);
  void observe_ranges(int64_t step);
  void round_masters(Model& model);
  void begin_learning();
  void freeze_scales();

  std::string name_;
  QuantizeOptions options_;
  FlatParameters& parameters_;
  const CalibrationSet* calibration_;
  std::vector<WidthAssignment> widths_;
  WeightQuantizer quantizer_;
  std::optional<AdaptiveWidths> adaptive_;
  std::vector<std::pair<int64_t, std::string>> events_;  ///< steps done, what happened
  std::vector<QuantizeCallback*> earlier_, later_;       ///< entries that share weights with it
  std::optional<int64_t> ranges_observed_at_;  ///< a step may begin again after a checkpoint
  bool active_ = false;
  bool frozen_ = false;  ///< scales stay as they are
  bool norms_frozen_ = false;
};

}  // namespace wattle
