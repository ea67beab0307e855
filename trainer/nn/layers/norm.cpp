#include "trainer/nn/layers/norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/rsqrt.h>
#include <c10/core/GradMode.h>

#include "trainer/nn/accumulate.h"
#include "trainer/nn/autograd.h"

namespace wattle {

LayerNorm::LayerNorm(const Scope& scope, int64_t width, double eps)
    : weight_(scope.name_of("weight"), scope.constant({width}, 1), LayerKind::kNorm, false),
      bias_(scope.name_of("bias"), scope.constant({width}, 0), LayerKind::kNorm, false),
      eps_(eps) {
  scope.add(weight_);
  scope.add(bias_);
}

at::Tensor LayerNorm::operator()(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const int64_t width = x.size(-1);
  const auto [y, mean, rstd] =
      at::native_layer_norm(x, {width}, weight_.value(), bias_.value(), eps_);
  if (!records) return y;
  weight_.expect_gradient();
  bias_.expect_gradient();
  return record(
      y, {x},
      [this, x, width, mean = mean, rstd = rstd](const at::Tensor& dy) -> std::vector<at::Tensor> {
        auto [dx, dweight, dbias] =
            at::native_layer_norm_backward(dy, x, {width}, mean, rstd, weight_.value(),
                                           bias_.value(), {x.requires_grad(), true, true});
        bias_.accumulate(
            [&, &d = dbias](at::Tensor& g, double beta) { accumulate_values(g, beta, d); });
        weight_.accumulate(
            [&, &d = dweight](at::Tensor& g, double beta) { accumulate_values(g, beta, d); });
        return {dx};
      });
}

RmsNorm::RmsNorm(const Scope& scope, int64_t width, double eps)
    : weight_(scope.name_of("weight"), scope.constant({width}, 1), LayerKind::kNorm, false),
      eps_(eps) {
  scope.add(weight_);
}

namespace {

/// The dtype to compute in: that of the values, or float32 for 16-bit ones.
at::Tensor widened(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

}  // namespace

at::Tensor RmsNorm::operator()(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor wide = widened(x);
  const at::Tensor rstd = at::rsqrt(wide.square().mean({-1}, true) + eps_);
  const at::Tensor y = (wide * rstd).mul_(weight_.value()).to(x.scalar_type());
  if (!records) return y;
  weight_.expect_gradient();
  return record(y, {x}, [this, x, rstd](const at::Tensor& grad) -> std::vector<at::Tensor> {
    const at::Tensor normed = widened(x) * rstd;
    const at::Tensor dy = widened(grad);
    weight_.accumulate([&](at::Tensor& g, double beta) {
      accumulate_sum(g, beta, (dy * normed).reshape({-1, x.size(-1)}));
    });
    const at::Tensor dnormed = dy * weight_.value();
    const at::Tensor mean = (dnormed * normed).mean({-1}, true);
    return {((dnormed - normed * mean) * rstd).to(x.scalar_type())};
  });
}

}  // namespace wattle
