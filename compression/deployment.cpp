#include "compression/deployment.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <nlohmann/json.hpp>

#include "compression/quantize/weight_quantizer.h"
#include "trainer/nn/model.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {
namespace {

DeployedWeight deployed(const WeightQuantizer& quantizer, int64_t index, at::Tensor values) {
  const WeightScales* scales = quantizer.scales_of(index);
  return {std::move(values), quantizer.target_of(index).format,
          scales ? std::optional(*scales) : std::nullopt};
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

Deployment quantise_model(const std::vector<std::unique_ptr<WeightQuantizer>>& quantizers,
                          Model& model) {
  const at::NoGradGuard no_grad;
  Deployment deployment;
  for (const auto& quantizer : quantizers) {
    for (const int64_t index : quantizer->indices()) {
      const Parameter& parameter = *model.parameters[index];
      at::Tensor values = parameter.value().detach();
      deployment[parameter.name()] = deployed(*quantizer, index, values.clone());
      quantizer->transform(index, values);
    }
  }
  return deployment;
}

std::string compression_ledger(const std::map<std::string, std::string>& sections) {
  nlohmann::json ledger;
  for (const auto& [name, text] : sections) {
    if (name.starts_with("compression.")) ledger[name] = nlohmann::json::parse(text);
  }
  return ledger.empty() ? "" : ledger.dump(2) + "\n";
}

std::string text_hash(const std::string& text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace wattle
