#include <optional>

#include "trainer/models/dense_layers.h"
#include "trainer/models/families.h"
#include "trainer/nn/layers/activation.h"
#include "trainer/nn/layers/convolution.h"
#include "trainer/nn/layers/residual.h"
#include "trainer/nn/layers/trace.h"
#include "trainer/nn/objectives/value_objectives.h"

namespace wattle {
namespace {

class Stem : public Layer {
 public:
  Stem(const Scope& scope, const ModelOptions& o)
      : convolution_(scope / "conv",
                     {.inputs = o.resolved_inputs(), .outputs = o.channels.front()}),
        norm_(scope / "norm", convolution_, o.norm_eps),
        output_(scope, "relu") {}

  /// [batch, inputs, height, width] to [batch, channels, height, width].
  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override {
    return traced(context, kind(), [&] {
      const at::Tensor y = norm_(convolution_(x, context), context);
      return output_(wattle::relu(y, context), context);
    });
  }
  LayerKind kind() const override { return LayerKind::kConvolution; }

 private:
  Convolution convolution_;
  BatchNorm norm_;
  ActivationPoint output_;
};

struct BlockShape {
  int64_t inputs, outputs, stride;
};

/// Two convolutions beside a shortcut, which is a 1x1 convolution where the shape changes.
class Block : public Layer {
 public:
  Block(const Scope& scope, const BlockShape& shape, double eps)
      : conv1_(scope / "conv1",
               {.inputs = shape.inputs, .outputs = shape.outputs, .stride = shape.stride}),
        norm1_(scope / "norm1", conv1_, eps),
        relu1_(scope, "relu1"),
        conv2_(scope / "conv2", {.inputs = shape.outputs, .outputs = shape.outputs}),
        norm2_(scope / "norm2", conv2_, eps),
        branch_(scope, "branch") {
    if (shape.inputs != shape.outputs || shape.stride != 1) {
      shortcut_.emplace(scope / "shortcut", ConvolutionOptions{.inputs = shape.inputs,
                                                               .outputs = shape.outputs,
                                                               .kernel = 1,
                                                               .stride = shape.stride});
      shortcut_norm_.emplace(scope / "shortcut_norm", *shortcut_, eps);
      shortcut_output_.emplace(scope, "shortcut");
    }
    output_.emplace(scope, "relu");
    scope.model().groups.push_back(
        {scope.name_of("filters"),
         UnitKind::kFilter,
         shape.outputs,
         {{&conv1_.weight(), 0}, {&norm1_.weight(), 0}, {&norm1_.bias(), 0}, {&conv2_.weight(), 1}},
         norm1_.buffers()});
  }

  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override {
    return traced(context, kind(), [&] {
      at::Tensor y = norm1_(conv1_(x, context), context);
      y = relu1_(wattle::relu(y, context), context);
      y = branch_(norm2_(conv2_(y, context), context), context);
      y = sum(y, shortcut_of(x, context), context);
      return (*output_)(wattle::relu(y, context), context);
    });
  }
  LayerKind kind() const override { return LayerKind::kConvolution; }

 private:
  at::Tensor shortcut_of(const at::Tensor& x, const ForwardContext& context) {
    if (!shortcut_) return x;
    return (*shortcut_output_)((*shortcut_norm_)((*shortcut_)(x, context), context), context);
  }

  Convolution conv1_;
  BatchNorm norm1_;
  ActivationPoint relu1_;
  Convolution conv2_;
  BatchNorm norm2_;
  ActivationPoint branch_;
  std::optional<Convolution> shortcut_;
  std::optional<BatchNorm> shortcut_norm_;
  std::optional<ActivationPoint> shortcut_output_;
  std::optional<ActivationPoint> output_;
};

}  // namespace

void build_resnet(const ModelOptions& o, const Scope& scope) {
  Model& model = scope.model();
  model.input = std::make_unique<ActivationPoint>(scope, "input");
  model.layers.push_back(std::make_unique<Stem>(scope / "stem", o));
  int64_t channels = o.channels.front();
  for (size_t stage = 0; stage < o.channels.size(); ++stage) {
    for (int64_t i = 0; i < o.blocks; ++i) {
      const BlockShape shape{channels, o.channels[stage], stage > 0 && i == 0 ? 2 : 1};
      const Scope place = scope / "stages" / std::to_string(stage) / std::to_string(i);
      model.layers.push_back(std::make_unique<Block>(place, shape, o.norm_eps));
      channels = shape.outputs;
    }
  }
  model.layers.push_back(std::make_unique<MeanPool>(scope / "mean"));
  add_dense_layers(scope, channels, {}, o.resolved_outputs(), 0, {});
  model.objective = std::make_unique<ClassObjective>();
}

}  // namespace wattle
