#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "compression/formats/grid_format.h"
#include "compression/formats/weight_shard.h"
#include "trainer/state/named_tensor.h"

namespace wattle {

/// The gradient of a loss for the scales of a weight, from that for the rounded weight, which is
/// then clipped in place to that for the weight before rounding. With v = x / scale in the segment
/// of a scale, codes low..high, d(rounded)/d(scale) is
///
///   low if v <= low, high if v >= high, between them rint(v) - v (kStep) or 0 (kClipping),
///
/// summed over the segment and divided by sqrt(values * high). x passes its gradient where
/// low < v < high. `scale`: [segments] float32; the result too. Symmetric integers only.
///
/// Of a part of a weight whose values share scales with those of other ranks, the sum and the count
/// are the whole segment's, and the result is the same on every rank; collective then. It differs
/// from the whole weight's by the order in which float64 numbers were added.
at::Tensor learn_scales_gradient(const GridFormatOptions& format, ScaleLearning learning,
                                 const at::Tensor& values, const at::Tensor& scale,
                                 at::Tensor& gradient, const WeightShard* shard = nullptr);

/// Where LSQ starts: 2 * mean magnitude / sqrt(high) of each segment; of a part of a weight as
/// WeightFormat::scales_of().
at::Tensor initial_step_size(const GridFormatOptions& format, const at::Tensor& values,
                             const WeightShard* shard = nullptr);

/// Adam for the scales of one weight, in units of the scale itself, so that one rate serves all
/// sizes and a scale stays above 0:
///
///   scale *= 1 - rate * m / (sqrt(v) + eps),  m and v as Adam's, bias-corrected, betas 0.9 and
///   0.99
///
/// A gradient that is not finite is left out. Alike on all ranks if the gradients are.
class ScaleOptimizer {
 public:
  explicit ScaleOptimizer(int64_t segments);

  void update(const at::Tensor& gradient, double rate, at::Tensor& scale);
  /// At fixed addresses.
  std::vector<NamedTensor> state() const;

 private:
  at::Tensor first_, second_;  ///< [segments] float32
  at::Tensor updates_;         ///< [1] float64, their number
};

}  // namespace wattle
