#include "trainer/models/dense_layers.h"

#include <cmath>

#include "trainer/nn/layers/activation.h"
#include "trainer/nn/layers/pooling.h"
#include "trainer/nn/layers/trace.h"

namespace wattle {

HiddenLayer::HiddenLayer(const Scope& scope, int64_t inputs, int64_t outputs, double dropout,
                         int64_t index)
    : linear_(scope, {.inputs = inputs,
                      .outputs = outputs,
                      // He et al. 2015, for a layer that ReLU follows.
                      .deviation = std::sqrt(2.0 / static_cast<double>(inputs))}),
      output_(scope, "relu"),
      dropout_(dropout, index) {}

at::Tensor HiddenLayer::forward(const at::Tensor& x, const ForwardContext& context) {
  return traced(context, kind(), [&] {
    return dropout_(output_(wattle::relu(linear_(x, context), context), context), context);
  });
}

OutputLayer::OutputLayer(const Scope& scope, int64_t inputs, int64_t outputs)
    : linear_(scope, {.inputs = inputs,
                      .outputs = outputs,
                      .deviation = std::sqrt(1.0 / static_cast<double>(inputs)),
                      .kind = LayerKind::kHead}),
      output_(scope, "logits") {}

at::Tensor OutputLayer::forward(const at::Tensor& x, const ForwardContext& context) {
  return traced(context, kind(), [&] { return output_(linear_(x, context), context); });
}

at::Tensor MeanPool::forward(const at::Tensor& x, const ForwardContext& context) {
  return traced(context, kind(), [&] { return output_(mean_pool(x, context), context); });
}

void add_consumer(Model& model, UnitGroup made, Parameter& weight) {
  if (made.units == 0) return;
  made.slices.push_back({&weight, 1});
  model.groups.push_back(std::move(made));
}

void add_dense_layers(const Scope& scope, int64_t inputs, const std::vector<int64_t>& hidden,
                      int64_t outputs, double dropout, UnitGroup made) {
  Model& model = scope.model();
  int64_t width = inputs;
  for (size_t i = 0; i < hidden.size(); ++i) {
    const Scope place = scope / "hidden" / std::to_string(i);
    auto layer =
        std::make_unique<HiddenLayer>(place, width, hidden[i], dropout, static_cast<int64_t>(i));
    Linear& linear = layer->linear();
    width = hidden[i];
    add_consumer(model, std::move(made), linear.weight());
    made = {place.name_of("neurons"),
            UnitKind::kNeuron,
            width,
            {{&linear.weight(), 0}, {linear.bias(), 0}},
            {}};
    model.layers.push_back(std::move(layer));
  }
  auto output = std::make_unique<OutputLayer>(scope / "output", width, outputs);
  add_consumer(model, std::move(made), output->linear().weight());
  model.layers.push_back(std::move(output));
}

}  // namespace wattle
