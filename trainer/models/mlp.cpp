#include <cmath>

#include "trainer/models/families.h"
#include "trainer/nn/layers/activation.h"
#include "trainer/nn/layers/dropout.h"
#include "trainer/nn/layers/linear.h"
#include "trainer/nn/layers/trace.h"
#include "trainer/nn/objectives/value_objectives.h"

namespace wattle {
namespace {

/// He et al. 2015, for a layer that ReLU follows.
double he_deviation(int64_t inputs) { return std::sqrt(2.0 / static_cast<double>(inputs)); }

class Hidden : public Layer {
 public:
  Hidden(const Scope& scope, int64_t inputs, int64_t outputs, double dropout, int64_t index)
      : linear_(scope, {.inputs = inputs, .outputs = outputs, .deviation = he_deviation(inputs)}),
        dropout_(dropout, index) {}

  /// [batch, inputs] to [batch, outputs].
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override {
    return traced(context, kind(), [&] { return dropout_(wattle::relu(linear_(x)), context); });
  }
  LayerKind kind() const override { return LayerKind::kDense; }

  Linear& linear() { return linear_; }

 private:
  Linear linear_;
  Dropout dropout_;
};

class Output : public Layer {
 public:
  Output(const Scope& scope, int64_t inputs, int64_t outputs)
      : linear_(scope, {.inputs = inputs,
                        .outputs = outputs,
                        .deviation = he_deviation(inputs),
                        .kind = LayerKind::kHead}) {}

  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override {
    return traced(context, kind(), [&] { return linear_(x); });
  }
  LayerKind kind() const override { return LayerKind::kHead; }

  Linear& linear() { return linear_; }

 private:
  Linear linear_;
};

/// The neurons between two dense layers.
UnitGroup neurons(const std::string& name, int64_t units, Linear& maker, Linear& consumer) {
  return {name,
          UnitKind::kNeuron,
          units,
          {{&maker.weight(), 0}, {maker.bias(), 0}, {&consumer.weight(), 1}},
          {}};
}

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
  Model& model = scope.model();
  int64_t width = *o.inputs;
  Linear* before = nullptr;
  const auto follow = [&](Linear& linear) {
    if (before) {
      model.groups.push_back(
          neurons("hidden." + std::to_string(model.layers.size() - 1) + ".neurons", width, *before,
                  linear));
    }
    before = &linear;
  };
  for (const int64_t hidden : o.hidden) {
    const auto index = static_cast<int64_t>(model.layers.size());
    auto layer = std::make_unique<Hidden>(scope / "hidden" / std::to_string(index), width, hidden,
                                          o.dropout, index);
    follow(layer->linear());
    model.layers.push_back(std::move(layer));
    width = hidden;
  }
  auto output = std::make_unique<Output>(scope / "output", width, o.resolved_outputs());
  follow(output->linear());
  model.layers.push_back(std::move(output));
  model.objective = objective_of(o);
}

}  // namespace wattle
