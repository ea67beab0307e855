#include "compression/activations/bias_quantizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/round.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <limits>

#include "compression/quantize/norm_fold.h"
#include "trainer/nn/graph/graph.h"

namespace wattle {
namespace {

int64_t index_of(const Model& model, const Parameter* parameter) {
  return std::ranges::find(model.parameters, parameter) - model.parameters.begin();
}

/// The point whose activations a product reads: pools hand on what they get.
const ActivationPoint* input_of(const Graph& graph, const Operation& product) {
  int64_t value = product.inputs.front();
  while (graph.values[value].point == nullptr) {
    const std::optional<size_t> maker = graph.maker_of(value);
    if (!maker || graph.operations[*maker].kind != OperationKind::kMaxPool) return nullptr;
    value = graph.operations[*maker].inputs.front();
  }
  return graph.values[value].point;
}

}  // namespace

at::Tensor bias_steps(const at::Tensor& weight_scales, const AffineScale& input) {
  return weight_scales * input.scale;
}

at::Tensor bias_in_steps(const at::Tensor& bias, const at::Tensor& steps) {
  return at::round(bias.to(at::kDouble) / steps.to(at::kDouble));
}

std::vector<BiasTarget> bias_targets(
    Model& model, const WeightQuantizer& weights,
    const std::vector<std::unique_ptr<ActivationQuantizer>>& activations) {
  const Graph graph = graph_of(model, "quantised activations");
  std::vector<BiasTarget> targets;
  for (const Operation& operation : graph.operations) {
    const bool is_product =
        operation.kind == OperationKind::kConvolution || operation.kind == OperationKind::kLinear;
    if (!is_product) continue;
    const int64_t weight = index_of(model, operation.weight);
    const ActivationPoint* point = input_of(graph, operation);
    if (point == nullptr || !weights.applies_to(weight, *operation.weight)) continue;
    const auto input = std::ranges::find(activations, point->name(),
                                         [](const auto& quantizer) { return quantizer->point(); });
    const std::optional<FollowingNorm>& norm = weights.target_of(weight).norm;
    const Parameter* bias = norm ? norm->bias : operation.bias;
    if (input == activations.end() || bias == nullptr) continue;
    targets.push_back({weight, index_of(model, bias), norm, input->get()});
  }
  return targets;
}

BiasQuantizer::BiasQuantizer(std::string name, const WeightQuantizer& weights,
                             std::vector<BiasTarget> targets, MasterOf master_of)
    : name_(std::move(name)),
      weights_(weights),
      targets_(std::move(targets)),
      master_of_(std::move(master_of)) {}

bool BiasQuantizer::applies_to(int64_t index, const Parameter&) const {
  return std::ranges::any_of(targets_, [&](const BiasTarget& t) { return t.bias == index; });
}

void BiasQuantizer::transform(int64_t index, at::Tensor& values) {
  const at::NoGradGuard no_grad;
  const BiasTarget& target = *std::ranges::find(targets_, index, &BiasTarget::bias);
  if (!target.input->rounds()) return;
  const WeightScales* fixed = weights_.scales_of(target.weight);
  const at::Tensor scales =
      fixed ? fixed->scale
            : weights_.target_of(target.weight)
                  .format->scales_of(weights_.folded(target.weight, master_of_(target.weight)))
                  .scale;
  const at::Tensor steps = bias_steps(scales, *target.input->scale());
  const at::Tensor bias = target.norm ? folded_bias(*target.norm, values) : values;
  const at::Tensor codes = bias_in_steps(bias, steps);
  const at::Tensor error = codes * steps.to(at::kDouble) - bias.to(at::kDouble);
  const at::Tensor rounded = (values.to(at::kDouble) + error).to(values.scalar_type());
  const at::Tensor fits = codes.abs().le(std::numeric_limits<int32_t>::max());
  values.copy_(at::where(fits, rounded, values));
}

}  // namespace wattle
