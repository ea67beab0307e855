#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace wattle {

class Scope;
struct ForwardContext;

/// What is put on activations from outside, as fake quantisation is.
class ActivationHook {
 public:
  virtual ~ActivationHook() = default;
  /// What the layers after the point read in place of x, of the same shape, differentiable where a
  /// backward pass follows.
  virtual at::Tensor apply(const at::Tensor& x) = 0;
};

/// A place between layers where activations can be changed from outside: a model's input, the
/// output of a layer. Without a hook it hands on what it gets.
class ActivationPoint {
 public:
  /// Enters itself into the registry of the scope's model as "scope.leaf", or as the scope alone
  /// where the leaf is empty; it must stay where it is.
  ActivationPoint(const Scope& scope, const std::string& leaf);
  ActivationPoint(const ActivationPoint&) = delete;
  ActivationPoint& operator=(const ActivationPoint&) = delete;

  at::Tensor operator()(const at::Tensor& x, const ForwardContext& context) const;

  const std::string& name() const { return name_; }
  /// nullptr takes the hook away; one that is set must outlive this, or be taken away.
  void set_hook(ActivationHook* hook) { hook_ = hook; }
  ActivationHook* hook() const { return hook_; }

 private:
  std::string name_;
  ActivationHook* hook_ = nullptr;
};

}  // namespace wattle
