#include "trainer/nn/layers/linear.h"

#include <c10/core/GradMode.h>

#include "trainer/nn/accumulate.h"
#include "trainer/nn/autograd.h"
#include "trainer/nn/graph/graph_recorder.h"
#include "trainer/nn/product.h"

namespace wattle {

Linear::Linear(const Scope& scope, const LinearOptions& o)
    : weight_(scope.name_of("weight"), scope.normal("weight", {o.outputs, o.inputs}, o.deviation),
              o.kind, true) {
  if (o.bias) bias_.emplace(scope.name_of("bias"), scope.constant({o.outputs}, 0), o.kind, false);
  scope.add_weight(weight_, bias());
}

at::Tensor Linear::operator()(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  weight_.multiplies(x);
  const at::Tensor y = affine(x, weight_.value(), bias_ ? bias_->value() : at::Tensor());
  if (!records) return y;
  weight_.expect_gradient();
  if (bias_) bias_->expect_gradient();
  return record(y, {x}, [this, x](const at::Tensor& grad) -> std::vector<at::Tensor> {
    const at::Tensor dy = grad.reshape({-1, grad.size(-1)});
    at::Tensor dx;
    if (x.requires_grad()) dx = affine(dy, weight_.value().t()).view(x.sizes());
    if (bias_) {
      bias_->accumulate([&](at::Tensor& g, double beta) { accumulate_sum(g, beta, dy); });
    }
    weight_.accumulate([&](at::Tensor& g, double beta) {
      accumulate_product(g, beta, dy, x.reshape({-1, x.size(-1)}));
    });
    return {dx};
  });
}

at::Tensor Linear::operator()(const at::Tensor& x, const ForwardContext& context) {
  const at::Tensor y = (*this)(x);
  if (context.recorder) {
    context.recorder->add({.kind = OperationKind::kLinear, .weight = &weight_, .bias = bias()}, {x},
                          y);
  }
  return y;
}

}  // namespace wattle
