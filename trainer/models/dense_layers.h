#pragma once

#include "trainer/nn/layers/dropout.h"
#include "trainer/nn/layers/linear.h"

namespace wattle {

/// A dense layer with ReLU and dropout, [batch, inputs] to [batch, outputs].
class HiddenLayer : public Layer {
 public:
  /// `index` numbers the dropouts of the model.
  HiddenLayer(const Scope& scope, int64_t inputs, int64_t outputs, double dropout, int64_t index);

  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  LayerKind kind() const override { return LayerKind::kDense; }

  Linear& linear() { return linear_; }

 private:
  Linear linear_;
  ActivationPoint output_;
  Dropout dropout_;
};

/// The last dense layer, [batch, inputs] to [batch, outputs].
class OutputLayer : public Layer {
 public:
  OutputLayer(const Scope& scope, int64_t inputs, int64_t outputs);

  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  LayerKind kind() const override { return LayerKind::kHead; }

  Linear& linear() { return linear_; }

 private:
  Linear linear_;
  ActivationPoint output_;
};

/// The mean over each channel's plane, [batch, channels, height, width] to [batch, channels].
class MeanPool : public Layer {
 public:
  explicit MeanPool(const Scope& scope) : output_(scope, "") {}

  at::Tensor forward(const at::Tensor& x, const ForwardContext& context) override;
  LayerKind kind() const override { return LayerKind::kConvolution; }

 private:
  ActivationPoint output_;
};

/// Hidden layers of these widths and the output layer, added to the scope's model, with a group of
/// neurons for each hidden layer. `made` is the group whose units the first of them consumes; none
/// if it has no units.
void add_dense_layers(const Scope& scope, int64_t inputs, const std::vector<int64_t>& hidden,
                      int64_t outputs, double dropout, UnitGroup made);

/// Completes a group with the weight that consumes its units and registers it.
void add_consumer(Model& model, UnitGroup made, Parameter& weight);

}  // namespace wattle
