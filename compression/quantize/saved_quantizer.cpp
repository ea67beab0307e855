#include "compression/quantize/saved_quantizer.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/config/config_file.h"
#include "common/error.h"
#include "compression/compression_options.h"

namespace wattle {
namespace {

using nlohmann::json;

int64_t index_of(const std::vector<Parameter*>& parameters, const std::string& name) {
  const auto found = std::ranges::find_if(
      parameters, [&](const Parameter* parameter) { return parameter->name() == name; });
  if (found == parameters.end()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("the checkpoint quantises {}, which the model doesn't have", name));
  }
  return found - parameters.begin();
}

std::vector<WeightTarget> targets_of(const json& weights, const Model& model) {
  std::vector<WeightTarget> targets;
  for (const json& weight : weights) {
    targets.push_back({weight.at("name"), make_weight_format(weight.at("format"))});
    if (!weight.at("folded").get<bool>()) continue;
    for (const Weight& known : model.weights) {
      if (known.weight->name() == targets.back().parameter) targets.back().norm = known.norm;
    }
  }
  return targets;
}

QuantizeOptions options_of(const json& state, const std::string& name) {
  QuantizeOptions options;
  Fields fields = fields_of(options);
  Diagnostics diagnostics;
  read_config_text(state.at("options"), "the checkpoint's " + name, fields, {}, diagnostics);
  diagnostics.throw_if_errors();
  return options;
}

bool rounds_activations(const CheckpointMeta& meta, size_t entry) {
  const auto section = meta.sections.find(activations_name(entry));
  return section != meta.sections.end() && json::parse(section->second).at("rounding").get<bool>();
}

void fill(const CheckpointReader& checkpoint, WeightQuantizer& quantizer) {
  std::vector<TensorSlice> slices;
  for (const NamedTensor& tensor : quantizer.state()) {
    slices.push_back(TensorSlice::whole(
        fmt::format("transform.{}.{}", quantizer.name(), tensor.name), tensor.value));
  }
  checkpoint.read(slices);
}

}  // namespace

json weights_to_json(const WeightQuantizer& quantizer) {
  json weights = json::array();
  for (const int64_t index : quantizer.indices()) {
    weights.push_back({{"name", quantizer.target_of(index).parameter},
                       {"format", quantizer.target_of(index).format->name()},
                       {"folded", quantizer.target_of(index).norm.has_value()},
                       {"fixed_scales", quantizer.scales_of(index) != nullptr},
                       {"learn", static_cast<int>(quantizer.learning_of(index))}});
  }
  return weights;
}

void weights_from_json(const json& weights, const std::vector<Parameter*>& parameters,
                       double scale_rate, WeightQuantizer& quantizer) {
  const at::NoGradGuard no_grad;
  for (const json& weight : weights) {
    const int64_t index = index_of(parameters, weight.at("name"));
    if (!quantizer.applies_to(index, *parameters[index])) {
      throw Error(ErrorCode::kFormat, fmt::format("{}: the checkpoint quantises {}, this run not",
                                                  quantizer.name(), parameters[index]->name()));
    }
    quantizer.set_format(index, make_weight_format(weight.at("format")));
    if (!weight.at("fixed_scales").get<bool>()) continue;
    const at::Tensor values = parameters[index]->value().detach().contiguous();
    quantizer.set_scales(index, quantizer.target_of(index).format->scales_of(values));
    const auto learning = static_cast<ScaleLearning>(weight.at("learn").get<int>());
    if (learning != ScaleLearning::kNone) quantizer.learn_scales(index, learning, scale_rate);
  }
}

std::vector<std::unique_ptr<WeightQuantizer>> active_quantizers(const CheckpointReader& checkpoint,
                                                                const Model& model) {
  std::vector<std::unique_ptr<WeightQuantizer>> quantizers;
  for (size_t i = 0; i < kMostElements; ++i) {
    const auto section = checkpoint.meta().sections.find(quantize_name(i));
    if (section == checkpoint.meta().sections.end()) continue;
    const json state = json::parse(section->second);
    if (!state.at("active").get<bool>()) continue;
    const json& weights = state.at("weights");
    quantizers.push_back(std::make_unique<WeightQuantizer>(
        section->first, targets_of(weights, model), model.parameters,
        state.at("clip_gradients").get<bool>()));
    weights_from_json(weights, model.parameters, 0, *quantizers.back());
    fill(checkpoint, *quantizers.back());
  }
  return quantizers;
}

std::vector<std::string> not_yet_quantised(const CheckpointMeta& meta,
                                           std::optional<int64_t> steps) {
  std::vector<std::string> found;
  const bool is_done = meta.sections.contains(kTrainingIsDone);
  const auto add = [&](const std::string& name, int64_t begin_step) {
    if (is_done && begin_step > steps.value_or(meta.step)) return;  // it never begins
    found.push_back(
        begin_step > meta.step
            ? fmt::format("{} begins at step {}, and the checkpoint is of step {}", name,
                          begin_step, meta.step)
            : fmt::format("{} begins after step {}, which the checkpoint is of", name, meta.step));
  };
  for (size_t i = 0; i < kMostElements; ++i) {
    const auto section = meta.sections.find(quantize_name(i));
    if (section == meta.sections.end()) continue;
    const json state = json::parse(section->second);
    const QuantizeOptions options = options_of(state, section->first);
    if (options.end_step) continue;
    const bool active = state.at("active").get<bool>();
    // Without end_step only one that stayed out after training has said anything.
    const bool stayed_out = is_done && !active && !state.at("events").empty();
    if (!active && !stayed_out) add(section->first, options.begin_step);
    if (active && options.activations && !rounds_activations(meta, i)) {
      add(activations_name(i), options.activation_step());
    }
  }
  return found;
}

}  // namespace wattle
