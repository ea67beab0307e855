#include "trainer/models/dense_layers.h"
#include "trainer/models/families.h"
#include "trainer/nn/layers/activation.h"
#include "trainer/nn/layers/convolution.h"
#include "trainer/nn/layers/pooling.h"
#include "trainer/nn/layers/trace.h"
#include "trainer/nn/objectives/value_objectives.h"

namespace wattle {
namespace {

/// Convolution, norm and ReLU; the last of a stage halves the image.
class Block : public Layer {
 public:
  Block(const Scope& scope, int64_t inputs, int64_t outputs, bool halves, double eps)
      : convolution_(scope / "conv", {.inputs = inputs, .outputs = outputs}),
        norm_(scope / "norm", convolution_, eps),
        output_(scope, "relu"),
        halves_(halves) {}

  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override {
    return traced(context, kind(), [&] {
      at::Tensor y = norm_(convolution_(x, context), context);
      y = output_(wattle::relu(y, context), context);
      return halves_ ? max_pool(y, 2, context) : y;
    });
  }
  LayerKind kind() const override { return LayerKind::kConvolution; }

  Convolution& convolution() { return convolution_; }
  BatchNorm& norm() { return norm_; }

 private:
  Convolution convolution_;
  BatchNorm norm_;
  ActivationPoint output_;
  bool halves_;
};

/// The filters of a block, as yet without what consumes them.
UnitGroup filters_of(const Scope& place, int64_t count, Block& block) {
  return {
      place.name_of("filters"),
      UnitKind::kFilter,
      count,
      {{&block.convolution().weight(), 0}, {&block.norm().weight(), 0}, {&block.norm().bias(), 0}},
      block.norm().buffers()};
}

}  // namespace

void build_vgg(const ModelOptions& o, const Scope& scope) {
  Model& model = scope.model();
  model.input = std::make_unique<ActivationPoint>(scope, "input");
  int64_t width = o.resolved_inputs();
  UnitGroup made;
  for (size_t stage = 0; stage < o.channels.size(); ++stage) {
    for (int64_t i = 0; i < o.blocks; ++i) {
      const Scope place = scope / "stages" / std::to_string(stage) / std::to_string(i);
      const bool halves = i + 1 == o.blocks;
      auto block = std::make_unique<Block>(place, width, o.channels[stage], halves, o.norm_eps);
      width = o.channels[stage];
      add_consumer(model, std::move(made), block->convolution().weight());
      made = filters_of(place, width, *block);
      model.layers.push_back(std::move(block));
    }
  }
  model.layers.push_back(std::make_unique<MeanPool>(scope / "mean"));
  add_dense_layers(scope, width, o.hidden, o.resolved_outputs(), o.dropout, std::move(made));
  model.objective = std::make_unique<ClassObjective>();
}

}  // namespace wattle
