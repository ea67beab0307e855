#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "compression/activations/activation_quantizer.h"
#include "compression/activations/bias_quantizer.h"
#include "compression/activations/calibrate.h"
#include "compression/calibration/calibration_set.h"
#include "compression/compression_options.h"
#include "compression/quantize/quantize_callback.h"
#include "parallel/communicator.h"
#include "trainer/callback.h"

namespace wattle {

/// Quantisation-aware training of activations as a callback: it puts quantisers on the points that
/// an entry's `activations` choose. From begin_step on they observe, from activations.begin_step on
/// they round, until end_step; freeze_observers_step fixes their ranges.
///
/// Ranges follow from a whole global batch: counts and extremes are merged over micro-batches and
/// ranks, and sums for learned ends are taken in the order of the micro-batches. They are the same
/// bits on any number of ranks if the activations are. Biases of products of weights that are
/// rounded, by this entry or another, and these rounded activations are rounded as well, to int32.
class ActivationCallback : public Callback {
 public:
  struct Parts {
    Model& model;
    FlatParameters& parameters;
    const QuantizeCallback& weights;  ///< the entry's own; comes before this in the list
    Communicator& ranks;
    const CalibrationSet* calibration = nullptr;  ///< needed to begin after training
  };
  /// `entry` is the place in the file ("compression.0.quantize"). `parts` must outlive this. Throws
  /// Error(kConfig) as activation_targets() does.
  ActivationCallback(const std::string& entry, std::string name, const QuantizeOptions& options,
                     const Parts& parts);
  ~ActivationCallback() override;

  void step_begins(const TrainingView& view) override;
  void step_ends(const TrainingView& view, const MetricsRecord& record) override;

  /// What was to be rounded by the run's last step and is not yet, is rounded now, if the entry's
  /// weights are. Ranges that no step has observed are calibrated on samples. Collective.
  bool training_is_done(const TrainingView& view) override;
  bool works_after_training(const TrainingView& view) const override;
  int64_t model_changes() const override { return static_cast<int64_t>(events_.size()); }

  /// "compression.0.activations".
  std::string name() const override { return name_; }
  std::string save_state() const override;
  void load_state(const std::string& state) override;

 private:
  void follow_schedule(int64_t step);
  void set_active(bool active);
  void set_rounding(bool rounding);
  void calibrate_unseen();
  bool learns() const { return options_.activations->learn != RangeLearning::kNone; }
  std::vector<std::array<double, 2>> end_gradients();

  std::string name_;
  QuantizeOptions options_;
  Parts parts_;
  std::vector<std::unique_ptr<ActivationQuantizer>> quantizers_;
  std::unique_ptr<BiasQuantizer> biases_;
  std::vector<std::pair<int64_t, std::string>> events_;  ///< steps done, what happened
  bool active_ = false;                                  ///< observes, or rounds
  bool rounding_ = false;
  bool frozen_ = false;
  bool observing_ = false;  ///< in this step
};

/// The points of a model that an entry chooses, in the model's order. Throws Error(kConfig) as
/// matching_names() does, and where the model has none.
std::vector<std::string> activation_targets(const ActivationOptions& options, const Model& model,
                                            const std::string& entry);

/// The same with how each is rounded; none without `activations`.
std::vector<ActivationSite> activation_sites(const QuantizeOptions& options, const Model& model,
                                             const std::string& entry);

}  // namespace wattle
