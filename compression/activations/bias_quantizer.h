#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compression/activations/activation_quantizer.h"
#include "compression/quantize/weight_quantizer.h"
#include "trainer/nn/model.h"

namespace wattle {

/// The steps of a product's bias: input's scale * weight's scale, so that it is added to sums of
/// products of integers (Jacob et al. 2018, section 2.4). `weight_scales` [outputs] or [1] float32;
/// the result too.
at::Tensor bias_steps(const at::Tensor& weight_scales, const AffineScale& input);

/// bias [outputs] in such steps, rounded: float64, not yet cut to int32.
at::Tensor bias_in_steps(const at::Tensor& bias, const at::Tensor& steps);

/// A bias that is deployed as int32.
struct BiasTarget {
  int64_t weight = 0;  ///< the product's, by its index among the parameters
  int64_t bias = 0;    ///< likewise; a folded batch norm's where there is one
  std::optional<FollowingNorm> norm;
  const ActivationQuantizer* input = nullptr;  ///< of what the product reads
};

/// The biases of products whose weights `weights` rounds and whose inputs one of `activations`
/// rounds.
std::vector<BiasTarget> bias_targets(
    Model& model, const WeightQuantizer& weights,
    const std::vector<std::unique_ptr<ActivationQuantizer>>& activations);

/// Rounds biases as they are deployed, between master and working values. A folded batch norm's
/// bias is moved so that the bias of the folded product, bias - mean * factor, lies on its steps. A
/// value that int32 can't hold stays as it is, and is refused at export. Gradients pass straight
/// through. Publish when a scale of an activation has changed.
class BiasQuantizer : public WorkingTransform {
 public:
  /// The present master values of a parameter.
  using MasterOf = std::function<at::Tensor(int64_t index)>;

  /// `weights` and what `targets` point to must outlive this.
  BiasQuantizer(std::string name, const WeightQuantizer& weights, std::vector<BiasTarget> targets,
                MasterOf master_of);

  std::string name() const override { return name_; }
  bool applies_to(int64_t index, const Parameter& parameter) const override;
  void transform(int64_t index, at::Tensor& values) override;

  const std::vector<BiasTarget>& targets() const { return targets_; }

 private:
  std::string name_;
  const WeightQuantizer& weights_;
  std::vector<BiasTarget> targets_;
  MasterOf master_of_;
};

}  // namespace wattle
