#include "trainer/nn/objectives/value_objectives.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/sigmoid.h>
#include <c10/core/GradMode.h>

#include "trainer/nn/autograd.h"
#include "trainer/nn/objectives/logit_loss.h"
#include "trainer/nn/objectives/softmax_loss.h"

namespace wattle {
namespace {

/// A loss whose backward hands out a gradient that is known already.
at::Tensor with_gradient(const at::Tensor& loss, const at::Tensor& activations,
                         const at::Tensor& gradient) {
  return record(loss, {activations},
                [gradient](const at::Tensor&) -> std::vector<at::Tensor> { return {gradient}; });
}

/// Activations as losses are computed: at least in float32.
at::Tensor widened(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? values_of(x) : values_of(x).to(at::kFloat);
}

/// Whether each is 0 or 1.
bool are_classes(const at::Tensor& targets) {
  return targets.eq(0).logical_or(targets.eq(1)).all().item<bool>();
}

}  // namespace

LossResult BinaryObjective::loss(const at::Tensor& activations, const at::Tensor& targets,
                                 const ForwardContext& context) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor logits = widened(activations);
  const at::Tensor wanted = targets.to(logits.scalar_type()).view_as(logits);
  LossResult result;
  result.scored = logits.numel();
  if (are_classes(wanted)) {
    result.correct = logits.gt(0).eq(wanted.gt(0.5)).sum().item<int64_t>();
  }
  const double mean = 1.0 / static_cast<double>(result.scored);
  const double scale = context.loss_weight * mean;
  if (LogitLoss* other = context.training ? logit_loss_ : nullptr) {
    other->begin(context);
    at::Tensor gradient = logits.clone();
    const double total =
        other->loss_(gradient, wanted, 0, records ? std::optional(scale) : std::nullopt);
    result.loss = at::full({}, total * mean, logits.options());
    if (!records) return result;
    result.loss = with_gradient(result.loss, activations, gradient.to(activations.scalar_type()));
    return result;
  }
  result.loss = at::binary_cross_entropy_with_logits(logits, wanted);
  if (!records) return result;
  result.loss =
      with_gradient(result.loss, activations,
                    ((at::sigmoid(logits) - wanted) * scale).to(activations.scalar_type()));
  return result;
}

bool BinaryObjective::set_logit_loss(LogitLoss* loss) {
  logit_loss_ = loss;
  return true;
}

at::Tensor BinaryObjective::predict(const at::Tensor& activations) {
  return at::sigmoid(activations);
}

LossResult SquaredObjective::loss(const at::Tensor& activations, const at::Tensor& targets,
                                  const ForwardContext& context) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor values = widened(activations);
  const at::Tensor wanted = targets.to(values.scalar_type()).view_as(values);
  LossResult result;
  result.scored = values.size(0);
  result.loss = at::mse_loss(values, wanted);
  if (!records) return result;
  const double scale = 2 * context.loss_weight / static_cast<double>(values.numel());
  result.loss = with_gradient(result.loss, activations,
                              ((values - wanted) * scale).to(activations.scalar_type()));
  return result;
}

at::Tensor SquaredObjective::predict(const at::Tensor& activations) { return activations; }

LossResult ClassObjective::loss(const at::Tensor& activations, const at::Tensor& targets,
                                const ForwardContext& context) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  at::Tensor logits = widened(activations).clone();
  LossResult result;
  result.scored = count_scored(targets);
  result.correct = logits.argmax(1).eq(targets).sum().item<int64_t>();
  const double mean = result.scored ? 1.0 / static_cast<double>(result.scored) : 0;
  const auto scale = records ? std::optional(mean * context.loss_weight) : std::nullopt;
  LogitLoss* other = context.training ? logit_loss_ : nullptr;
  if (other) other->begin(context);
  const double total =
      other ? other->loss_(logits, targets, 0, scale) : softmax_loss_(logits, targets, scale);
  result.loss = at::full({}, total * mean, logits.options());
  if (!records) return result;
  result.loss = with_gradient(result.loss, activations, logits.to(activations.scalar_type()));
  return result;
}

at::Tensor ClassObjective::predict(const at::Tensor& activations) { return activations; }

bool ClassObjective::set_logit_loss(LogitLoss* loss) {
  logit_loss_ = loss;
  return true;
}

}  // namespace wattle
