#include "compression/report/inference.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

#include "compression/widths/loss_probe.h"

namespace wattle {
namespace {

/// Takes all transforms away for as long as this lives.
class MastersAlone {
 public:
  explicit MastersAlone(FlatParameters& parameters)
      : parameters_(parameters), transforms_(parameters.transforms()) {
    for (WorkingTransform* transform : transforms_) parameters_.remove_transform(*transform);
  }
  ~MastersAlone() {
    for (WorkingTransform* transform : transforms_) parameters_.add_transform(*transform);
  }
  MastersAlone(const MastersAlone&) = delete;
  MastersAlone& operator=(const MastersAlone&) = delete;

 private:
  FlatParameters& parameters_;
  std::vector<WorkingTransform*> transforms_;
};

MeasuredInference measured(Evaluator& evaluator, RunAccounts& accounts) {
  accounts.settle();
  const std::optional<double> before = accounts.run_joules();
  MeasuredInference inference{*evaluator.run(), std::nullopt};
  accounts.settle();
  const std::optional<double> after = accounts.run_joules();
  if (before && after) inference.joules = *after - *before;
  return inference;
}

}  // namespace

std::map<std::string, double> loss_effects(Model& model, FlatParameters& parameters,
                                           const CalibrationSet& calibration, int64_t samples) {
  const at::NoGradGuard no_grad;
  LossProbe probe(model, calibration, samples);
  const double rounded = probe.read().loss;
  std::map<std::string, double> effects;
  for (size_t i = 0; i < parameters.parameters().size(); ++i) {
    const Parameter& parameter = *parameters.parameters()[i];
    const auto index = static_cast<int64_t>(i);
    const bool quantised = std::ranges::any_of(parameters.transforms(), [&](WorkingTransform* t) {
      return t->applies_to(index, parameter);
    });
    if (!quantised) continue;
    at::Tensor value = parameter.value().detach();
    const at::Tensor kept = value.clone();
    value.copy_(parameters.master_of(index));
    effects[parameter.name()] = rounded - probe.read().loss;
    value.copy_(kept);
  }
  return effects;
}

InferenceComparison compare_inference(Evaluator& evaluator, FlatParameters& parameters,
                                      RunAccounts& accounts) {
  InferenceComparison comparison;
  {
    const MastersAlone masters(parameters);
    comparison.in_float = measured(evaluator, accounts);
  }
  comparison.compressed = measured(evaluator, accounts);
  comparison.energy_source = accounts.source();
  return comparison;
}

}  // namespace wattle
