#include "compression/export/deployed_graph.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/error.h"
#include "compression/activations/bias_quantizer.h"
#include "compression/export/export_refusals.h"
#include "trainer/nn/layers/norm_fold.h"
#include "trainer/nn/model.h"

namespace wattle {
namespace {

/// Lays out one graph.
class Builder {
 public:
  Builder(Model& model, const std::vector<NamedTensor>& parameters, const Deployment& deployment,
          const std::string& what)
      : graph_(graph_of(model, what)),
        weights_(model.weights),
        deployment_(deployment),
        what_(what) {
    for (const NamedTensor& parameter : parameters) values_[parameter.name] = parameter.value;
  }

  DeployedGraph build(const std::map<std::string, ActivationGrid>& grids);

 private:
  at::Tensor value_of(const Parameter* parameter) const {
    return values_.at(parameter->name()).detach().to(at::kFloat).contiguous();
  }
  void name_values(const std::map<std::string, ActivationGrid>& grids);
  DeployedOperation plain(const Operation& operation) const;
  void quantise(DeployedOperation& product, const DeployedWeight& weight) const;
  void fold(DeployedOperation& product, const Parameter* weight, const Operation& norm) const;
  void quantise_bias(DeployedOperation& product) const;

  Graph graph_;
  const std::vector<Weight>& weights_;
  const Deployment& deployment_;
  const std::string& what_;
  std::map<std::string, at::Tensor> values_;
  DeployedGraph deployed_;
};

std::string layer_of(const Parameter& weight) {
  return weight.name().substr(0, weight.name().rfind('.'));
}

DeployedOperation Builder::plain(const Operation& o) const {
  DeployedOperation made{.kind = o.kind,
                         .stride = o.stride,
                         .padding = o.padding,
                         .window = o.window,
                         .eps = o.eps,
                         .inputs = o.inputs,
                         .output = o.output};
  if (o.weight) {
    made.name = layer_of(*o.weight);
    made.weight = value_of(o.weight);
  }
  if (o.bias) made.bias = value_of(o.bias);
  if (o.kind == OperationKind::kBatchNorm) {
    made.mean = o.running_mean.detach().to(at::kFloat);
    made.variance = o.running_variance.detach().to(at::kFloat);
  }
  return made;
}

void Builder::quantise(DeployedOperation& product, const DeployedWeight& weight) const {
  if (const std::string refusal = onnx_refusal(*weight.format); !refusal.empty()) {
    throw Error(ErrorCode::kUnsupported, fmt::format("{}: {}.weight was trained for {}; {}", what_,
                                                     product.name, weight.format->name(), refusal));
  }
  product.weight.reset();
  product.format = *weight.format->grid();
  product.codes = weight.format->encode(weight.values, weight.scales ? &*weight.scales : nullptr);
}

void Builder::fold(DeployedOperation& product, const Parameter* weight,
                   const Operation& norm) const {
  const auto known = std::ranges::find(weights_, weight, &Weight::weight);
  product.bias = folded_bias(*known->norm, value_of(norm.bias)).detach().to(at::kFloat);
  product.output = norm.output;
}

void Builder::quantise_bias(DeployedOperation& product) const {
  const std::optional<ActivationGrid>& grid = deployed_.grids[product.inputs.front()];
  if (!product.codes || !product.bias.defined() || !grid) return;
  if (!gives_bias_steps(product.codes->scales.scale, product.bias.numel())) return;
  const at::Tensor steps = bias_steps(product.codes->scales.scale, grid->scale);
  const RoundedBias rounded = round_bias(product.bias, steps);
  product.bias = rounded.values;
  if (!rounded.codes.defined()) return;
  product.bias_codes = rounded.codes;
  product.bias_scales = steps;
}

void Builder::name_values(const std::map<std::string, ActivationGrid>& grids) {
  for (size_t i = 0; i < graph_.values.size(); ++i) {
    const ActivationPoint* point = graph_.values[i].point;
    deployed_.names.push_back(point ? point->name() : fmt::format("value_{}", i));
    const auto grid = point ? grids.find(point->name()) : grids.end();
    deployed_.grids.push_back(grid == grids.end() ? std::nullopt : std::optional(grid->second));
  }
}

DeployedGraph Builder::build(const std::map<std::string, ActivationGrid>& grids) {
  deployed_.input = graph_.input;
  deployed_.output = graph_.output;
  name_values(grids);
  std::vector<bool> folded(graph_.operations.size(), false);
  for (size_t i = 0; i < graph_.operations.size(); ++i) {
    if (folded[i]) continue;
    const Operation& operation = graph_.operations[i];
    DeployedOperation made = plain(operation);
    const bool is_product =
        operation.kind == OperationKind::kConvolution || operation.kind == OperationKind::kLinear;
    const auto quantised =
        is_product ? deployment_.find(operation.weight->name()) : deployment_.end();
    if (quantised != deployment_.end()) {
      quantise(made, quantised->second);
      if (quantised->second.has_norm) {
        const size_t norm = graph_.readers_of(operation.output).front();
        fold(made, operation.weight, graph_.operations[norm]);
        folded[norm] = true;
      }
      quantise_bias(made);
    }
    // The largest of numbers on a grid is on it.
    if (made.kind == OperationKind::kMaxPool && !deployed_.grids[made.output]) {
      deployed_.grids[made.output] = deployed_.grids[made.inputs.front()];
    }
    deployed_.operations.push_back(std::move(made));
  }
  return std::move(deployed_);
}

}  // namespace

std::vector<size_t> DeployedGraph::readers_of(int64_t value) const {
  std::vector<size_t> readers;
  for (size_t i = 0; i < operations.size(); ++i) {
    for (const int64_t input : operations[i].inputs) {
      if (input == value) readers.push_back(i);
    }
  }
  return readers;
}

DeployedGraph deployed_graph(Model& model, const std::vector<NamedTensor>& parameters,
                             const Deployment& deployment, const std::string& what) {
  const at::NoGradGuard no_grad;
  return Builder(model, parameters, deployment, what).build(activation_grids_of(model));
}

}  // namespace wattle
