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
  if (parameter == nullptr) return -1;
  return std::ranges::find(model.parameters, parameter) - model.parameters.begin();
}

const Parameter* norm_bias_of(const Model& model, const Parameter* weight) {
  const auto known = std::ranges::find(model.weights, weight, &Weight::weight);
  return known == model.weights.end() || !known->norm ? nullptr : known->norm->bias;
}

std::vector<const ActivationPoint*> inputs_of(const Graph& graph, const Operation& product) {
  std::vector<const ActivationPoint*> points;
  for (int64_t value = product.inputs.front();;) {
    if (graph.values[value].point) points.push_back(graph.values[value].point);
    const std::optional<size_t> maker = graph.maker_of(value);
    if (!maker || graph.operations[*maker].kind != OperationKind::kMaxPool) return points;
    value = graph.operations[*maker].inputs.front();
  }
}

}  // namespace

at::Tensor bias_steps(const at::Tensor& weight_scales, const AffineScale& input) {
  return weight_scales * input.scale;
}

bool gives_bias_steps(const at::Tensor& weight_scales, int64_t outputs) {
  return weight_scales.numel() == 1 || weight_scales.numel() == outputs;
}

at::Tensor bias_in_steps(const at::Tensor& bias, const at::Tensor& steps) {
  return at::round(bias.to(at::kDouble) / steps.to(at::kDouble));
}

std::vector<BiasTarget> bias_targets(Model& model) {
  const Graph graph = graph_of(model, "quantised activations");
  std::vector<BiasTarget> targets;
  for (const Operation& operation : graph.operations) {
    const bool is_product =
        operation.kind == OperationKind::kConvolution || operation.kind == OperationKind::kLinear;
    if (!is_product) continue;
    targets.push_back({index_of(model, operation.weight), index_of(model, operation.bias),
                       index_of(model, norm_bias_of(model, operation.weight)),
                       inputs_of(graph, operation)});
  }
  return targets;
}

const WeightQuantizer* rounder_of(int64_t weight, const Parameter& parameter,
                                  std::span<WorkingTransform* const> transforms) {
  for (const WorkingTransform* transform : transforms) {
    const auto* quantizer = dynamic_cast<const WeightQuantizer*>(transform);
    if (quantizer != nullptr && quantizer->applies_to(weight, parameter)) return quantizer;
  }
  return nullptr;
}

BiasQuantizer::BiasQuantizer(std::string name, std::vector<BiasTarget> targets,
                             const Activations& activations, Sources sources)
    : name_(std::move(name)),
      targets_(std::move(targets)),
      activations_(activations),
      sources_(std::move(sources)) {}

bool BiasQuantizer::applies_to(int64_t index, const Parameter&) const {
  return std::ranges::any_of(
      targets_, [&](const BiasTarget& t) { return t.bias == index || t.norm_bias == index; });
}

const ActivationQuantizer* BiasQuantizer::rounds_input(const BiasTarget& target) const {
  for (const ActivationPoint* point : target.inputs) {
    const auto* quantizer = dynamic_cast<const ActivationQuantizer*>(point->hook());
    if (quantizer == nullptr || !quantizer->rounds()) continue;
    const bool is_own =
        std::ranges::any_of(activations_, [&](const auto& one) { return one.get() == quantizer; });
    return is_own ? quantizer : nullptr;
  }
  return nullptr;
}

void BiasQuantizer::transform(int64_t index, at::Tensor& values) {
  const at::NoGradGuard no_grad;
  const BiasTarget& target = *std::ranges::find_if(
      targets_, [&](const BiasTarget& t) { return t.bias == index || t.norm_bias == index; });
  const WeightQuantizer* weights = sources_.rounds_weight(target.weight);
  const ActivationQuantizer* input = rounds_input(target);
  if (weights == nullptr || input == nullptr) return;
  const std::optional<FollowingNorm>& norm = weights->target_of(target.weight).norm;
  if (index != (norm ? target.norm_bias : target.bias)) return;
  const at::Tensor scales =
      weights->scales_for(target.weight, sources_.master_of(target.weight)).scale;
  if (!gives_bias_steps(scales, values.numel())) return;
  const at::Tensor steps = bias_steps(scales, *input->scale());
  const at::Tensor bias = norm ? folded_bias(*norm, values) : values;
  const at::Tensor codes = bias_in_steps(bias, steps);
  const at::Tensor error = codes * steps.to(at::kDouble) - bias.to(at::kDouble);
  const at::Tensor rounded = (values.to(at::kDouble) + error).to(values.scalar_type());
  const at::Tensor fits = codes.abs().le(std::numeric_limits<int32_t>::max());
  values.copy_(at::where(fits, rounded, values));
}

}  // namespace wattle
