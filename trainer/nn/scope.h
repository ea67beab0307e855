#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "trainer/nn/model.h"

namespace wattle {

/// Where in a model a layer is being built: it names the layer's parameters, draws their initial
/// values and enters them into the model's registry. The initial values of a parameter depend on
/// (seed, its name, its shape) alone.
class Scope {
 public:
  Scope(Model& model, uint64_t seed, at::ScalarType dtype)
      : model_(model), seed_(seed), dtype_(dtype) {}

  /// The scope `name` within this one.
  Scope operator/(const std::string& name) const;

  /// The full name of something here: "blocks.3.attention.qkv" and "weight" make
  /// "blocks.3.attention.qkv.weight".
  std::string name_of(const std::string& leaf) const;

  at::Tensor normal(const std::string& leaf, at::IntArrayRef shape, double deviation) const;
  at::Tensor constant(at::IntArrayRef shape, double value) const;

  /// Enters a parameter into the registry; it must stay where it is.
  void add(Parameter& parameter) const { model_.parameters.push_back(&parameter); }
  /// Enters a weight that multiplies activations, and its bias, if it has one.
  void add_weight(Parameter& weight, Parameter* bias) const;
  /// Says what follows the product of a weight that is in the registry.
  void follow(const Parameter& weight, FollowingNorm norm) const;
  void add_buffer(const std::string& leaf, at::Tensor value) const;

  /// The model's registry.
  Model& model() const { return model_; }

 private:
  Model& model_;
  uint64_t seed_;
  at::ScalarType dtype_;
  std::string path_;
};

}  // namespace wattle
