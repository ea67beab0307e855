#include "trainer/models/dense_layers.h"
#include "trainer/models/families.h"
#include "trainer/nn/objectives/value_objectives.h"

namespace wattle {
namespace {

/// Images become rows: [batch, ...] to [batch, features].
class Flatten : public Layer {
 public:
  at::Tensor forward(const at::Tensor& x, const ForwardContext&) override {
    return x.dim() == 2 ? x : x.reshape({x.size(0), -1});
  }
  LayerKind kind() const override { return LayerKind::kDense; }
};

std::unique_ptr<Objective> objective_of(const ModelOptions& o) {
  switch (o.resolved_loss()) {
    case ModelLoss::kBce:
      return std::make_unique<BinaryObjective>();
    case ModelLoss::kMse:
      return std::make_unique<SquaredObjective>();
    default:
      return std::make_unique<ClassObjective>();
  }
}

}  // namespace

void build_mlp(const ModelOptions& o, const Scope& scope) {
  scope.model().input = std::make_unique<ActivationPoint>(scope, "input");
  scope.model().layers.push_back(std::make_unique<Flatten>());
  add_dense_layers(scope, o.resolved_inputs(), o.hidden, o.resolved_outputs(), o.dropout, {});
  scope.model().objective = objective_of(o);
}

}  // namespace wattle
