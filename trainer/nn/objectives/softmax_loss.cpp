#include "trainer/nn/objectives/softmax_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>

namespace wattle {

int64_t count_scored(const at::Tensor& targets) { return targets.ne(-1).sum().item<int64_t>(); }

double softmax_loss_(at::Tensor& logits, const at::Tensor& targets,
                     std::optional<double> gradient_scale) {
  const at::ScalarType type = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor scored = targets.ne(-1).to(type).unsqueeze(1);
  const at::Tensor column = targets.clamp_min(0).unsqueeze(1);
  at::Tensor log_probability = at::log_softmax(logits, 1, type);
  const double total =
      -(log_probability.gather(1, column) * scored).sum(at::kDouble).item<double>();
  if (gradient_scale) {
    at::Tensor gradient = log_probability.exp_();
    gradient.scatter_add_(1, column, -scored);
    logits.copy_(gradient.mul_(scored * *gradient_scale));
  }
  return total;
}

}  // namespace wattle
