#include "compression/posttraining/posttraining.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"
#include "compression/activations/calibrate.h"
#include "compression/deployment.h"
#include "compression/posttraining/round_by_gptq.h"
#include "compression/quantize/weight_quantizer.h"
#include "compression/ranges/weight_ranges.h"

namespace wattle {
namespace {

template <class T>
T* named(const std::vector<T*>& all, const std::string& name) {
  const auto found = std::ranges::find(all, name, [](const T* one) { return one->name(); });
  return found == all.end() ? nullptr : *found;
}

/// The same weights of this model, whose norms they are folded into.
std::vector<WeightTarget> targets_in(const Model& model, const QuantisedParts& parts) {
  std::vector<WeightTarget> targets;
  for (const WeightTarget& part : parts.weights) {
    targets.push_back(
        {.parameter = part.parameter, .format = part.format, .observer = part.observer});
    if (!part.norm) continue;
    for (const Weight& known : model.weights) {
      if (known.weight->name() == part.parameter) targets.back().norm = known.norm;
    }
  }
  return targets;
}

/// Puts values of a model in float back as they were when this ends.
class Kept {
 public:
  Kept() = default;
  ~Kept() {
    for (auto& [parameter, before] : kept_) {
      parameter->value().detach().copy_(before);
      parameter->set_folded(false);
    }
  }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;

  void keep(Parameter& parameter, const at::Tensor& before) {
    kept_.emplace_back(&parameter, before);
  }

 private:
  std::vector<std::pair<Parameter*, at::Tensor>> kept_;
};

/// A model that is rounded, evaluated and put back, also if that throws.
class Rounding {
 public:
  Rounding(Model& model, std::vector<WeightTarget> targets, const ActivationQuantizers& activations)
      : model_(model), targets_(std::move(targets)), activations_(activations) {
    quantizers_.push_back(
        std::make_unique<WeightQuantizer>("baseline", targets_, model.parameters, false));
    for (const int64_t index : quantizers_.front()->indices()) {
      kept_.keep(*model.parameters[index], value_of(index).clone());
      const WeightTarget& target = quantizers_.front()->target_of(index);
      const auto scales = first_scales(*target.format, target.observer,
                                       quantizers_.front()->folded(index, value_of(index)));
      if (scales) quantizers_.front()->set_scales(index, *scales);
    }
  }

  void round_by_gptq(const CalibrationSet& calibration, const GptqSection& options) {
    const HookedActivations hooked(model_, activations_);
    wattle::round_by_gptq(model_, targets_, calibration, options,
                          [&](size_t i, const GptqWeight& rounded) {
                            const int64_t index = index_of(targets_[i].parameter);
                            value_of(index).copy_(rounded.values);
                            if (rounded.scales)
                              quantizers_.front()->set_scales(index, *rounded.scales);
                          });
  }

  double evaluate(const std::function<double()>& evaluate) {
    const HookedActivations hooked(model_, activations_);
    for (const NamedTensor& bias : round_biases(quantizers_, activations_, model_)) {
      kept_.keep(*model_.parameters[index_of(bias.name)], bias.value);
    }
    quantise_model(quantizers_, model_);
    return evaluate();
  }

 private:
  int64_t index_of(const std::string& name) const {
    return std::ranges::find(model_.parameters, name,
                             [](const Parameter* p) { return p->name(); }) -
           model_.parameters.begin();
  }
  at::Tensor value_of(int64_t index) const { return model_.parameters[index]->value().detach(); }

  Model& model_;
  std::vector<WeightTarget> targets_;
  const ActivationQuantizers& activations_;
  std::vector<std::unique_ptr<WeightQuantizer>> quantizers_;
  Kept kept_;
};

}  // namespace

QuantisedParts quantised_parts(const Model& model, const FlatParameters& parameters) {
  QuantisedParts parts;
  for (const WorkingTransform* transform : parameters.transforms()) {
    const auto* quantizer = dynamic_cast<const WeightQuantizer*>(transform);
    if (quantizer == nullptr) continue;
    for (const int64_t index : quantizer->indices()) {
      parts.weights.push_back(quantizer->target_of(index));
    }
  }
  for (const ActivationPoint* point : model.activations) {
    const auto* quantizer = dynamic_cast<const ActivationQuantizer*>(point->hook());
    if (quantizer == nullptr || !quantizer->rounds()) continue;
    parts.activations.push_back({point->name(), quantizer->settings()});
  }
  return parts;
}

std::string lacks(const Model& model, const QuantisedParts& parts, const Model& like) {
  for (const WeightTarget& part : parts.weights) {
    const Parameter* here = named(model.parameters, part.parameter);
    const Parameter* there = named(like.parameters, part.parameter);
    if (here == nullptr || here->value().sizes() != there->value().sizes()) {
      return fmt::format("no {} of the same shape", part.parameter);
    }
  }
  for (const ActivationSite& point : parts.activations) {
    if (named(model.activations, point.name) == nullptr) return "no activation " + point.name;
  }
  return "";
}

std::optional<GptqSection> baseline_gptq(const QuantizeOptions& options) {
  if (options.baseline != BaselineKind::kGptq) return std::nullopt;
  return options.gptq.value_or(GptqSection());
}

PostTrainingLosses evaluate_after_rounding(Model& model, const QuantisedParts& parts,
                                           const PostTrainingOptions& options,
                                           const std::function<double()>& evaluate) {
  const at::NoGradGuard no_grad;
  PostTrainingLosses losses{.in_float = evaluate()};
  const ActivationQuantizers activations =
      calibrated_activations(model, parts.activations, options.calibration, options.samples);
  const std::vector<WeightTarget> targets = targets_in(model, parts);
  losses.nearest = Rounding(model, targets, activations).evaluate(evaluate);
  if (options.gptq) {
    Rounding rounding(model, targets, activations);
    rounding.round_by_gptq(options.calibration, *options.gptq);
    losses.gptq = rounding.evaluate(evaluate);
  }
  return losses;
}

}  // namespace wattle
