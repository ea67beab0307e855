#pragma once

#include "trainer/nn/scope.h"

namespace wattle {

/// y = (x - mean) / sqrt(variance + eps) * weight + bias over the last dimension.
class LayerNorm {
 public:
  LayerNorm(const Scope& scope, int64_t width, double eps);

  at::Tensor operator()(const at::Tensor& x);

 private:
  Parameter weight_;
  Parameter bias_;
  double eps_;
};

/// y = x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang and Sennrich 2019).
class RmsNorm {
 public:
  RmsNorm(const Scope& scope, int64_t width, double eps);

  at::Tensor operator()(const at::Tensor& x);

 private:
  Parameter weight_;
  double eps_;
};

}  // namespace wattle
