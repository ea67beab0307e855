#pragma once

#include <optional>

#include "trainer/nn/scope.h"

namespace wattle {

struct LinearOptions {
  int64_t inputs = 0;
  int64_t outputs = 0;
  bool bias = true;
  double deviation = 0.02;  ///< of the initial weights; a bias starts at zero
  LayerKind kind = LayerKind::kDense;
};

/// y = x W^T + b, for x [..., inputs], W [outputs, inputs]. Backward writes the gradients of W and
/// b into their views by the product itself and allocates only the gradient of x.
class Linear {
 public:
  Linear(const Scope& scope, const LinearOptions& options);

  at::Tensor operator()(const at::Tensor& x);
  at::Tensor operator()(const at::Tensor& x, const ForwardContext& context);

  Parameter& weight() { return weight_; }
  Parameter* bias() { return bias_ ? &*bias_ : nullptr; }

 private:
  Parameter weight_;
  std::optional<Parameter> bias_;
};

}  // namespace wattle
