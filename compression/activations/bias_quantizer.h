#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compression/activations/activation_quantizer.h"
#include "compression/quantize/weight_quantizer.h"
#include "trainer/nn/graph/activation_point.h"
#include "trainer/nn/model.h"

namespace wattle {

/// The steps of a product's bias: input's scale * weight's scale, so that it is added to sums of
/// products of integers (Jacob et al. 2018, section 2.4). `weight_scales` [outputs] or [1] float32;
/// the result too.
at::Tensor bias_steps(const at::Tensor& weight_scales, const AffineScale& input);

/// Whether scales of a weight with so many outputs give each bias one step; scales of groups don't.
bool gives_bias_steps(const at::Tensor& weight_scales, int64_t outputs);

/// A bias [outputs] that is rounded to such steps.
struct RoundedBias {
  at::Tensor codes;  ///< int32; undefined if it can't hold all of them
  at::Tensor
      values;  ///< as `bias`: what the codes decode to in float32; what doesn't fit is as it was
};
RoundedBias round_bias(const at::Tensor& bias, const at::Tensor& steps);

/// A product whose bias may be deployed as int32: the bias of its own or, where batch norm is
/// folded into its weight, the norm's. All by their indices among the parameters, -1 if there is
/// none.
struct BiasTarget {
  int64_t weight = -1;
  int64_t bias = -1;
  int64_t norm_bias = -1;
  /// What the product reads: its input's point and those before it whose values max pools hand on.
  std::vector<const ActivationPoint*> inputs;
};

/// Of all products of a model.
std::vector<BiasTarget> bias_targets(Model& model);

/// Rounds biases as they are deployed, between master and working values: those of products whose
/// weight is rounded, by whatever entry, to scales of its outputs or one for all, and whose input
/// one of `activations` rounds. A folded batch norm's bias becomes that of the folded product, bias
/// - mean * factor, which is rounded. What forward adds is to the last bit what a reader of the
/// codes decodes in float32. A value that int32 can't hold stays as it is: that bias is deployed as
/// floats. Gradients pass straight through. Publish when a scale of an activation has changed.
class BiasQuantizer : public WorkingTransform {
 public:
  using Activations = std::vector<std::unique_ptr<ActivationQuantizer>>;
  struct Sources {
    /// The present master values of a parameter.
    std::function<at::Tensor(int64_t index)> master_of;
    /// What rounds a weight at present; nullptr if nothing does.
    std::function<const WeightQuantizer*(int64_t weight)> rounds_weight;
  };

  /// `activations` and the model of the targets must outlive this.
  BiasQuantizer(std::string name, std::vector<BiasTarget> targets, const Activations& activations,
                Sources sources);

  std::string name() const override { return name_; }
  /// Whether this may round the parameter, at some time.
  bool applies_to(int64_t index, const Parameter& parameter) const override;
  void transform(int64_t index, at::Tensor& values) override;
  bool folds_norm(int64_t index) const override;

 private:
  /// How a parameter is rounded now.
  struct Rounding {
    const BiasTarget* target = nullptr;
    const WeightQuantizer* weights = nullptr;
    const ActivationQuantizer* input = nullptr;
    const FollowingNorm* norm = nullptr;  ///< that is folded into the weight; may be nullptr
  };
  std::optional<Rounding> rounding_of(int64_t index) const;
  const ActivationQuantizer* rounds_input(const BiasTarget& target) const;

  std::string name_;
  std::vector<BiasTarget> targets_;
  const Activations& activations_;
  Sources sources_;
};

/// The one of `transforms` that rounds a weight; nullptr if none does.
const WeightQuantizer* rounder_of(int64_t weight, const Parameter& parameter,
                                  std::span<WorkingTransform* const> transforms);

}  // namespace wattle
