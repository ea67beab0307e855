#include "trainer/nn/layers/convolution.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/im2col.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/var_mean.h>
#include <ATen/ops/where.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "common/error.h"
#include "trainer/nn/accumulate.h"
#include "trainer/nn/autograd.h"
#include "trainer/nn/graph/graph_recorder.h"
#include "trainer/nn/layers/norm_fold.h"

namespace wattle {

Convolution::Convolution(const Scope& scope, const ConvolutionOptions& o)
    : weight_(scope.name_of("weight"),
              // He et al. 2015, for a layer that ReLU follows.
              scope.normal("weight", {o.outputs, o.inputs, o.kernel, o.kernel},
                           std::sqrt(2.0 / static_cast<double>(o.inputs * o.kernel * o.kernel))),
              LayerKind::kConvolution, true),
      stride_{o.stride, o.stride},
      padding_{o.kernel / 2, o.kernel / 2} {
  scope.add_weight(weight_, nullptr);
}

at::Tensor Convolution::operator()(const at::Tensor& x, const ForwardContext& context) {
  const at::Tensor y = product(x);
  if (context.recorder) {
    context.recorder->add({.kind = OperationKind::kConvolution,
                           .weight = &weight_,
                           .stride = stride_.front(),
                           .padding = padding_.front()},
                          {x}, y);
  }
  return y;
}

at::Tensor Convolution::patches(const at::Tensor& x) const {
  const at::IntArrayRef kernel = weight_.value().sizes().slice(2);
  return at::im2col(x, kernel, /*dilation=*/{1, 1}, padding_, stride_).transpose(1, 2);
}

at::Tensor Convolution::product(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  if (weight_.is_watched()) weight_.multiplies(patches(x));
  const at::Tensor y = at::conv2d(x, weight_.value(), {}, stride_, padding_);
  if (!records) return y;
  weight_.expect_gradient();
  return record(y, {x}, [this, x](const at::Tensor& dy) -> std::vector<at::Tensor> {
    const auto [dx, dweight, none] = at::convolution_backward(
        dy, x, weight_.value(), at::OptionalIntArrayRef(), stride_, padding_, {1, 1}, false, {0, 0},
        1, {x.requires_grad(), true, false});
    weight_.accumulate(
        [&, &d = dweight](at::Tensor& g, double beta) { accumulate_values(g, beta, d); });
    return {dx};
  });
}

BatchNorm::BatchNorm(const Scope& scope, Convolution& convolution, double eps)
    : product_(convolution.weight()),
      weight_(scope.name_of("weight"), scope.constant({convolution.weight().value().size(0)}, 1),
              LayerKind::kNorm, false),
      bias_(scope.name_of("bias"), scope.constant(weight_.value().sizes(), 0), LayerKind::kNorm,
            false),
      eps_(eps) {
  scope.add(weight_);
  scope.add(bias_);
  const bool wide = weight_.value().scalar_type() == at::kDouble;
  running_mean_ = scope.constant(weight_.value().sizes(), 0).to(wide ? at::kDouble : at::kFloat);
  running_variance_ = running_mean_ + 1;
  scope.add_buffer("running_mean", running_mean_);
  scope.add_buffer("running_variance", running_variance_);
  buffers_ = {scope.name_of("running_mean"), scope.name_of("running_variance")};
  scope.follow(convolution.weight(), as_following());
}

FollowingNorm BatchNorm::as_following() {
  return {&weight_, &bias_, running_mean_, running_variance_, eps_};
}

namespace {

/// [channels] over x [batch, channels, height, width], in its type.
at::Tensor spread(const at::Tensor& channels, const at::Tensor& x) {
  return channels.to(x.scalar_type()).view({1, -1, 1, 1});
}

}  // namespace

at::Tensor BatchNorm::operator()(const at::Tensor& x, const ForwardContext& context) {
  const bool by_batch = context.training && !context.frozen_norms;
  at::Tensor y;
  if (by_batch) {
    y = normalised_by_batch(x, context);
  } else {
    y = product_.is_folded() ? with_folded_bias(x) : normalised_by_running(x);
  }
  if (context.recorder) {
    context.recorder->add({.kind = OperationKind::kBatchNorm,
                           .weight = &weight_,
                           .bias = &bias_,
                           .running_mean = running_mean_,
                           .running_variance = running_variance_,
                           .eps = eps_},
                          {x}, y);
  }
  return y;
}

at::Tensor BatchNorm::normalised_by_batch(const at::Tensor& product,
                                          const ForwardContext& context) {
  if (product.numel() == product.size(1)) {
    throw Error(ErrorCode::kConfig, weight_.name() +
                                        ": batch norm of a micro-batch with one value "
                                        "a channel; train.micro_batch must be larger");
  }
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor factor = fold_factor(as_following());
  at::Tensor divisor, x = product, bias = bias_.value();
  if (product_.is_folded()) {
    divisor = spread(fold_divisor(factor), product);
    x = product / divisor;
  }
  if (bias_.is_folded()) bias = bias + running_mean_ * factor;
  if (context.statistics) {
    const auto [variance, mean] =
        at::var_mean(x.to(running_mean_.scalar_type()), {0, 2, 3}, /*unbiased=*/true);
    context.statistics->push_back({mean, variance});
  }
  const auto [y, mean, rstd] =
      at::native_batch_norm(x, weight_.value(), bias, {}, {}, true, 0.0, eps_);
  if (!records) return y;
  weight_.expect_gradient();
  bias_.expect_gradient();
  return record(
      y, {product},
      [=, this, mean = mean, rstd = rstd](const at::Tensor& dy) -> std::vector<at::Tensor> {
        const auto [dx, dweight, dbias] = at::native_batch_norm_backward(
            dy, x, weight_.value(), {}, {}, mean, rstd, true, eps_, {true, true, true});
        bias_.accumulate(
            [&, &d = dbias](at::Tensor& g, double beta) { accumulate_values(g, beta, d); });
        weight_.accumulate(
            [&, &d = dweight](at::Tensor& g, double beta) { accumulate_values(g, beta, d); });
        return {divisor.defined() ? dx / divisor : dx};
      });
}

/// A folded product scales with the norm's weight, as codes stay while their scale does: the
/// weight's gradient is that of the norm of the product divided by the factor.
at::Tensor BatchNorm::with_folded_bias(const at::Tensor& product) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor factor = fold_factor(as_following());
  const at::Tensor off = factor.eq(0);
  const at::Tensor shift = spread(
      bias_.is_folded() ? bias_.value() : folded_bias(as_following(), bias_.value()), product);
  const bool any_off = off.any().item<bool>();
  at::Tensor y = product + shift;
  if (any_off) y = at::where(off.view({1, -1, 1, 1}), shift, y);
  if (!records) return y;
  weight_.expect_gradient();
  bias_.expect_gradient();
  return record(y, {product}, [=, this](const at::Tensor& dy) -> std::vector<at::Tensor> {
    const at::Tensor dbias = dy.sum({0, 2, 3});
    const at::Tensor dproduct = (dy * product).sum({0, 2, 3}) / fold_divisor(factor);
    const at::Tensor deviation = at::rsqrt(running_variance_ + eps_);
    bias_.accumulate([&](at::Tensor& g, double beta) { accumulate_values(g, beta, dbias); });
    weight_.accumulate([&](at::Tensor& g, double beta) {
      accumulate_values(g, beta, (dproduct - running_mean_ * dbias) * deviation);
    });
    return {any_off ? dy.masked_fill(off.view({1, -1, 1, 1}), 0) : dy};
  });
}

at::Tensor BatchNorm::normalised_by_running(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor deviation = at::rsqrt(running_variance_ + eps_);
  const at::Tensor scale = weight_.value() * deviation;
  const at::Tensor shift =
      bias_.is_folded() ? bias_.value() : bias_.value() - running_mean_ * scale;
  const at::Tensor y = x * spread(scale, x) + spread(shift, x);
  if (!records) return y;
  weight_.expect_gradient();
  bias_.expect_gradient();
  return record(y, {x}, [=, this](const at::Tensor& dy) -> std::vector<at::Tensor> {
    const at::Tensor normalised = (x - spread(running_mean_, x)) * spread(deviation, x);
    bias_.accumulate([&](at::Tensor& g, double beta) {
      accumulate_values(g, beta, dy.sum({0, 2, 3}));
    });
    weight_.accumulate([&](at::Tensor& g, double beta) {
      accumulate_values(g, beta, (dy * normalised).sum({0, 2, 3}));
    });
    return {dy * spread(scale, x)};
  });
}

}  // namespace wattle
