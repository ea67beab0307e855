#include "compression/activations/bias_quantizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/round.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <limits>

#include "trainer/nn/graph/graph.h"
#include "trainer/nn/layers/norm_fold.h"

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

RoundedBias round_bias(const at::Tensor& bias, const at::Tensor& steps) {
  const at::Tensor codes = at::round(bias.to(at::kDouble) / steps.to(at::kDouble));
  const at::Tensor fits = codes.abs().le(std::numeric_limits<int32_t>::max());
  const at::Tensor decoded = (codes.to(at::kFloat) * steps).to(bias.scalar_type());
  return {fits.all().item<bool>() ? codes.to(at::kInt) : at::Tensor(),
          at::where(fits, decoded, bias)};
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

std::optional<BiasQuantizer::Rounding> BiasQuantizer::rounding_of(int64_t index) const {
  const auto target = std::ranges::find_if(
      targets_, [&](const BiasTarget& t) { return t.bias == index || t.norm_bias == index; });
  if (target == targets_.end()) return std::nullopt;
  const WeightQuantizer* weights = sources_.rounds_weight(target->weight);
  const ActivationQuantizer* input = rounds_input(*target);
  if (weights == nullptr || input == nullptr) return std::nullopt;
  const std::optional<FollowingNorm>& norm = weights->target_of(target->weight).norm;
  if (index != (norm ? target->norm_bias : target->bias)) return std::nullopt;
  return Rounding{&*target, weights, input, norm ? &*norm : nullptr};
}

bool BiasQuantizer::folds_norm(int64_t index) const {
  const std::optional<Rounding> rounding = rounding_of(index);
  return rounding && rounding->norm != nullptr;
}

void BiasQuantizer::transform(int64_t index, at::Tensor& values) {
  const at::NoGradGuard no_grad;
  const std::optional<Rounding> rounding = rounding_of(index);
  if (!rounding) return;
  if (rounding->norm != nullptr) values.copy_(folded_bias(*rounding->norm, values));
  // Where the weight's values are not finite its quantiser complains, and no step is made.
  const int64_t weight = rounding->target->weight;
  const at::Tensor master = sources_.master_of(weight);
  if (!rounding->weights->folded(weight, master).isfinite().all().item<bool>()) return;
  const at::Tensor scales = rounding->weights->scales_for(weight, master).scale;
  if (!gives_bias_steps(scales, values.numel())) return;
  values.copy_(round_bias(values, bias_steps(scales, *rounding->input->scale())).values);
}

}  // namespace wattle
