#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/nn/parameter.h"
#include "trainer/state/named_tensor.h"

namespace wattle {

/// What lies between the master values and those that the forward pass reads: a mask, a fake
/// quantisation. Transforms form a chain: the first one gets a copy of the master values, each next
/// one what the one before made of it; rounding to bf16 comes after the last. Gradients go through
/// the chain backwards.
///
/// A transform owns its state per parameter; whatever of it cannot be computed again from the
/// master values and the step stands in state(). Parameters are known by their index in the model's
/// order. Called under no-grad by the one thread that trains.
class WorkingTransform {
 public:
  virtual ~WorkingTransform() = default;

  /// Tells the transforms of a run apart; part of the names in a checkpoint.
  virtual std::string name() const = 0;
  virtual bool applies_to(int64_t index, const Parameter& parameter) const = 0;

  /// Changes in place the values of parameter `index`, in its shape and the master's type.
  virtual void transform(int64_t index, at::Tensor& values) = 0;

  /// The same of the master values, which it leaves as they are, into `values`: what the first
  /// transform of a chain is asked for. One that can do so in one pass over memory overrides it.
  virtual void transform_master(int64_t index, const at::Tensor& master, at::Tensor& values) {
    values.copy_(master);
    transform(index, values);
  }

  /// Whether what transform() leaves has batch norm folded in (Parameter::is_folded()).
  virtual bool folds_norm(int64_t /*index*/) const { return false; }

  /// Turns in place the gradient at the transformed values into that at the values before, once a
  /// step after reduction. Straight through unless said otherwise. `master` has the same shape.
  virtual void transform_gradient(int64_t /*index*/, const at::Tensor& /*master*/,
                                  at::Tensor& /*gradient*/) {}

  /// Moves what the transform itself learns, by the gradients of the step that was just made: once
  /// after the optimizer's update, and not at all if that was left out.
  virtual void update() {}

  /// "" or which parameter's working values are not finite, as transform() found, and why.
  virtual std::string complaint() const { return ""; }

  /// The same tensors on every rank, at fixed addresses.
  virtual std::vector<NamedTensor> state() { return {}; }
};

}  // namespace wattle
