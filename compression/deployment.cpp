#include "compression/deployment.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "compression/activations/bias_quantizer.h"
#include "compression/quantize/weight_quantizer.h"
#include "trainer/nn/model.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {
namespace {

DeployedWeight deployed(const WeightQuantizer& quantizer, int64_t index, const at::Tensor& values) {
  if (const WeightShard* shard = quantizer.shard_of(index)) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("{}: {} lies on {} ranks; expected a whole weight to deploy", quantizer.name(),
                    quantizer.target_of(index).parameter, shard->ranks->size()));
  }
  const WeightScales* scales = quantizer.scales_of(index);
  return {quantizer.folded(index, values), quantizer.target_of(index).format,
          scales ? std::optional(*scales) : std::nullopt,
          quantizer.target_of(index).norm.has_value()};
}

}  // namespace

Deployment deployment_of(const FlatParameters& parameters) {
  const at::NoGradGuard no_grad;
  Deployment deployment;
  for (size_t i = 0; i < parameters.parameters().size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    const Parameter& parameter = *parameters.parameters()[i];
    at::Tensor values = parameters.master_of(index);
    for (WorkingTransform* transform : parameters.transforms()) {
      if (!transform->applies_to(index, parameter)) continue;
      if (const auto* quantizer = dynamic_cast<const WeightQuantizer*>(transform)) {
        deployment[parameter.name()] = deployed(*quantizer, index, values);
      }
      values = values.clone();
      transform->transform(index, values);
    }
  }
  return deployment;
}

std::vector<NamedTensor> round_biases(
    const std::vector<std::unique_ptr<WeightQuantizer>>& quantizers,
    const std::vector<std::unique_ptr<ActivationQuantizer>>& activations, Model& model) {
  const at::NoGradGuard no_grad;
  std::vector<NamedTensor> before;
  if (activations.empty()) return before;
  std::vector<WorkingTransform*> transforms;
  for (const auto& quantizer : quantizers) transforms.push_back(quantizer.get());
  BiasQuantizer biases(
      "biases", bias_targets(model), activations,
      {[&model](int64_t index) { return model.parameters[index]->value().detach(); },
       [&](int64_t weight) { return rounder_of(weight, *model.parameters[weight], transforms); }});
  for (size_t i = 0; i < model.parameters.size(); ++i) {
    Parameter& parameter = *model.parameters[i];
    const auto index = static_cast<int64_t>(i);
    if (!biases.applies_to(index, parameter)) continue;
    at::Tensor values = parameter.value().detach();
    before.push_back({parameter.name(), values.clone()});
    biases.transform(index, values);
    parameter.set_folded(biases.folds_norm(index));
  }
  return before;
}

Deployment quantise_model(const std::vector<std::unique_ptr<WeightQuantizer>>& quantizers,
                          Model& model) {
  const at::NoGradGuard no_grad;
  Deployment deployment;
  for (const auto& quantizer : quantizers) {
    for (const int64_t index : quantizer->indices()) {
      Parameter& parameter = *model.parameters[index];
      at::Tensor values = parameter.value().detach();
      deployment[parameter.name()] = deployed(*quantizer, index, values.clone());
      quantizer->transform_or_throw(index, values);
      parameter.set_folded(quantizer->folds_norm(index));
    }
  }
  return deployment;
}

std::string compression_ledger(const std::map<std::string, std::string>& sections) {
  nlohmann::json ledger;
  for (const auto& [name, text] : sections) {
    if (!name.starts_with("compression.")) continue;
    nlohmann::json& entry = ledger[name] = nlohmann::json::parse(text);
    entry.erase(kResumeKey);
  }
  return ledger.empty() ? "" : ledger.dump(2) + "\n";
}

std::string text_hash(std::string_view text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace wattle
