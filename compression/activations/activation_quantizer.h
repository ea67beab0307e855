#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compression/activations/activation_options.h"
#include "compression/quantize/learned_scales.h"
#include "trainer/nn/graph/activation_point.h"

namespace wattle {

struct ActivationSettings {
  AffineGrid grid;
  ObserverOptions observer;
  bool clip_gradients = true;
  bool learns_ends = false;
  double rate = 1e-3;  ///< of learned ends
};

/// Rounds the activations of one point to a grid, and sees their range. Float32 on the CPU.
///
/// The grid stays the same within a step, so that a step's gradients do not depend on how its batch
/// was split. What a step has shown lies in batch() (and, for learned ends, end_gradients()), to be
/// merged over the ranks before batch_ends(). Not thread-safe.
class ActivationQuantizer : public ActivationHook {
 public:
  ActivationQuantizer(std::string point, const ActivationSettings& settings);

  /// With set_observing: takes x in. With set_rounding, once a range is known: x rounded,
  /// straight-through gradient. NaN or infinity: Error(kNonFinite) that names the point, but in
  /// training, where all of the result is NaN and nothing is taken in: what comes of such a step
  /// is train.on_non_finite's to say.
  at::Tensor apply(const at::Tensor& x) override;

  void set_observing(bool observing) { observing_ = observing; }
  bool observes() const { return observing_; }
  void set_rounding(bool rounding);

  /// Of this step, on this rank.
  RangeStatistics& batch() { return batch_; }
  /// Of a loss for the lower and the upper end, one pair for each micro-batch, in their order.
  std::vector<std::array<double, 2>>& end_gradients() { return end_gradients_; }
  /// The step is over and its batch merged (or, if it was left out, to be forgotten). The range
  /// follows the observer, and learned ends `end_gradient`, the sum over the micro-batches.
  void batch_ends(bool counts, const std::array<double, 2>& end_gradient);

  const std::string& point() const { return point_; }
  const AffineGrid& grid() const { return settings_.grid; }
  const ActivationSettings& settings() const { return settings_; }
  /// Nothing before the first batch.
  const std::optional<AffineScale>& scale() const { return scale_; }
  bool rounds() const { return rounding_ && scale_.has_value(); }

  /// All that it knows, to the last bit, and back.
  nlohmann::json save() const;
  void load(const nlohmann::json& saved);

 private:
  /// Ends that are learned, as magnitudes: [low, high], or [both] of a symmetric grid.
  struct LearnedEnds {
    at::Tensor magnitudes;
    ScaleOptimizer optimizer;
  };
  void begin_learning();
  ClipRange learned_range() const;
  at::Tensor gradient_of(const at::Tensor& x, const at::Tensor& dy, const AffineScale& scale);

  std::string point_;
  ActivationSettings settings_;
  RangeObserver observer_;
  RangeStatistics batch_;
  std::vector<std::array<double, 2>> end_gradients_;
  std::optional<LearnedEnds> learned_;
  std::optional<AffineScale> scale_;
  bool observing_ = false;
  bool rounding_ = false;
};

}  // namespace wattle
