#include "trainer/nn/layers/norm_fold.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace wattle {
namespace {

constexpr double kSmallestFactor = 1e-20;

at::Tensor spread(const at::Tensor& factor, const at::Tensor& values) {
  std::vector<int64_t> shape(values.dim(), 1);
  shape.front() = -1;
  return factor.view(shape);
}

}  // namespace

at::Tensor fold_factor(const FollowingNorm& norm) {
  const at::NoGradGuard no_grad;
  const at::Tensor factor = norm.weight->value() * at::rsqrt(norm.running_variance + norm.eps);
  return at::where(factor.abs().lt(kSmallestFactor), at::zeros_like(factor), factor);
}

at::Tensor folded_bias(const FollowingNorm& norm, const at::Tensor& bias) {
  return bias - norm.running_mean * fold_factor(norm);
}

void multiply_channels(at::Tensor& values, const at::Tensor& factor) {
  values.mul_(spread(factor, values));
}

void divide_channels(at::Tensor& values, const at::Tensor& factor, const at::Tensor& otherwise) {
  const at::Tensor wide = spread(factor, values);
  values.copy_(at::where(wide.eq(0), otherwise, values / wide));
}

at::Tensor fold_divisor(const at::Tensor& factor) {
  return at::where(factor.eq(0), at::ones_like(factor), factor);
}

}  // namespace wattle
