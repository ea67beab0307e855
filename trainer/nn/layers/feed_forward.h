#pragma once

#include "trainer/nn/layers/linear.h"

namespace wattle {

struct FeedForwardOptions {
  int64_t width = 0;
  int64_t neurons = 0;
  double output_deviation = 0.02;  ///< initial, of the projection back into the residual stream
};

/// down(gelu(up(x))), with biases; [..., width] to the same.
class GeluFeedForward {
 public:
  GeluFeedForward(const Scope& scope, const FeedForwardOptions& options);

  at::Tensor operator()(const at::Tensor& x);

 private:
  Linear up_;
  Linear down_;
};

/// down(silu(gate(x)) * up(x)), without biases; [..., width] to the same. The rows of
/// gate_up.weight are the gate's, then the up projection's: [2 * neurons, width].
class SwigluFeedForward {
 public:
  SwigluFeedForward(const Scope& scope, const FeedForwardOptions& options);

  at::Tensor operator()(const at::Tensor& x);

 private:
  Linear gate_up_;
  Linear down_;
};

}  // namespace wattle
