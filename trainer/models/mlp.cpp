#include "trainer/models/dense_layers.h"
#include "trainer/models/families.h"
#include "trainer/nn/objectives/value_objectives.h"

namespace wattle {
namespace {

std::unique_ptr<Objective> objective_of(const ModelOptions& o) {
  switch (o.loss) {
    case ModelLoss::kBce:
      return std::make_unique<BinaryObjective>();
    case ModelLoss::kMse:
      return std::make_unique<SquaredObjective>();
    case ModelLoss::kCrossEntropy:
      return std::make_unique<ClassObjective>();
    case ModelLoss::kAuto:
      break;
  }
  if (o.resolved_outputs() == 1) return std::make_unique<BinaryObjective>();
  return std::make_unique<ClassObjective>();
}

}  // namespace

void build_mlp(const ModelOptions& o, const Scope& scope) {
  scope.model().input = std::make_unique<ActivationPoint>(scope, "input");
  add_dense_layers(scope, o.resolved_inputs(), o.hidden, o.resolved_outputs(), o.dropout, {});
  scope.model().objective = objective_of(o);
}

}  // namespace wattle
