#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace wattle {

/// The global norm of a step's gradients, before clipping.
struct GradientNorm {
  double norm = 0;
  bool finite = true;  ///< false if any gradient is NaN or infinite
};

/// Norm and finite check in one pass over a flat buffer (float32, float64 or bfloat16).
///
/// The squares are summed in float64 over blocks of kBlock elements, then over the blocks in their
/// order: the same bits for any number of threads. Ranks that hold shards cut at multiples of
/// kBlock get the bits of the whole buffer by gathering their block sums.
class GradientMeter {
 public:
  static constexpr int64_t kBlock = 16384;

  /// For buffers of up to `numel` elements; measuring does not allocate on a CPU.
  explicit GradientMeter(int64_t numel);

  GradientNorm measure(const at::Tensor& gradients);

  /// The sums of squares of the blocks of `gradients`, [ceil(numel / kBlock)] float64 on the CPU;
  /// valid until the next call.
  at::Tensor block_sums(const at::Tensor& gradients);
  static GradientNorm combine(const at::Tensor& block_sums);

 private:
  at::Tensor sums_;
};

/// What to multiply gradients of this norm with, so that it becomes at most `max_norm`:
/// min(1, max_norm / (norm + 1e-6)), as PyTorch's clip_grad_norm_.
double clip_scale(double norm, double max_norm);

}  // namespace wattle
