#include "trainer/nn/layers/norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "trainer/nn/accumulate.h"
#include "trainer/nn/autograd.h"
#include "trainer/nn/kernels/parallel_rows.h"
#include "trainer/nn/kernels/rows.h"

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

/// y and 1 / rms of each row, [..., 1].
std::pair<at::Tensor, at::Tensor> rms_normed(const at::Tensor& x, const at::Tensor& weight,
                                             double eps) {
  if (!fits_kernels(x, weight)) {
    const at::Tensor wide = widened(x);
    const at::Tensor rstd = at::rsqrt(wide.square().mean({-1}, true) + eps);
    return {(wide * rstd).mul_(weight).to(x.scalar_type()), rstd};
  }
  const int64_t width = x.size(-1), rows = x.numel() / width;
  at::Tensor y = at::empty_like(x), rstd = at::empty({rows}, x.options());
  const float *at_x = x.const_data_ptr<float>(), *at_weight = weight.const_data_ptr<float>();
  float *at_y = y.mutable_data_ptr<float>(), *at_rstd = rstd.mutable_data_ptr<float>();
  each_row(rows, width, [&](int64_t row) {
    at_rstd[row] = rms_norm_forward(at_x + row * width, at_weight, at_y + row * width,
                                    static_cast<float>(eps), width);
  });
  return {y, rstd};
}

struct RmsGradients {
  at::Tensor dx;
  at::Tensor dweight;
};

RmsGradients rms_gradients(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                           const at::Tensor& rstd) {
  if (!fits_kernels(grad, x, weight)) {
    const at::Tensor normed = widened(x) * rstd, dy = widened(grad), dnormed = dy * weight;
    const at::Tensor mean = (dnormed * normed).mean({-1}, true);
    return {((dnormed - normed * mean) * rstd).to(x.scalar_type()),
            (dy * normed).reshape({-1, x.size(-1)}).sum(0)};
  }
  // Partial sums by fixed pieces of rows, so that the number of threads does not change a bit.
  constexpr int64_t kPiece = 64;
  const int64_t width = x.size(-1), rows = x.numel() / width;
  const int64_t pieces = (rows + kPiece - 1) / kPiece;
  at::Tensor dx = at::empty_like(x), partial = at::zeros({pieces, width}, x.options());
  const float *at_x = x.const_data_ptr<float>(), *at_weight = weight.const_data_ptr<float>();
  const float *at_dy = grad.const_data_ptr<float>(), *at_rstd = rstd.const_data_ptr<float>();
  float *at_dx = dx.mutable_data_ptr<float>(), *at_partial = partial.mutable_data_ptr<float>();
  each_row(pieces, width * kPiece, [&](int64_t piece) {
    for (int64_t row = piece * kPiece; row < std::min(rows, (piece + 1) * kPiece); ++row) {
      rms_norm_backward(at_x + row * width, at_weight, at_dy + row * width, at_rstd[row],
                        at_dx + row * width, at_partial + piece * width, width);
    }
  });
  return {dx, partial.sum(0)};
}

}  // namespace

at::Tensor RmsNorm::operator()(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const auto [y, rstd] = rms_normed(x, weight_.value(), eps_);
  if (!records) return y;
  weight_.expect_gradient();
  return record(y, {x}, [this, x, rstd = rstd](const at::Tensor& dy) -> std::vector<at::Tensor> {
    const RmsGradients gradients = rms_gradients(dy, x, weight_.value(), rstd);
    weight_.accumulate(
        [&](at::Tensor& g, double beta) { accumulate_values(g, beta, gradients.dweight); });
    return {gradients.dx};
  });
}

}  // namespace wattle
