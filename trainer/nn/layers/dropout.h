#pragma once

#include "trainer/nn/model.h"

namespace wattle {

/// Zeroes elements with probability `rate` when training and scales the others by 1 / (1 - rate).
/// Whether element e of sample s is kept is a function of (seed, step, s, layer, e) alone
/// (Philox 4x32-10, Salmon et al. 2011), so that it depends neither on the batch that the sample is
/// in nor on the rank. The mask is computed again in backward, not kept.
class Dropout {
 public:
  /// `layer` numbers the dropouts of a model.
  Dropout(double rate, int64_t layer) : rate_(rate), layer_(layer) {}

  /// x [batch, ...], one row for each of context.sample_indices.
  at::Tensor operator()(const at::Tensor& x, const ForwardContext& context) const;

 private:
  double rate_;
  int64_t layer_;
};

}  // namespace wattle
