#include "trainer/nn/graph/activation_point.h"

#include "trainer/nn/graph/graph_recorder.h"
#include "trainer/nn/scope.h"

namespace wattle {

ActivationPoint::ActivationPoint(const Scope& scope, const std::string& leaf)
    : name_(scope.name_of(leaf)) {
  scope.model().activations.push_back(this);
}

at::Tensor ActivationPoint::operator()(const at::Tensor& x, const ForwardContext& context) const {
  const at::Tensor y = hook_ ? hook_->apply(x) : x;
  if (context.recorder) context.recorder->mark(*this, x, y);
  return y;
}

}  // namespace wattle
