#include "compression/report/inference.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>

#include "compression/report/in_float.h"
#include "compression/widths/loss_probe.h"

namespace wattle {
std::map<std::string, double> loss_effects(Model& model, FlatParameters& parameters,
                                           const CalibrationSet& calibration, int64_t samples,
                                           const std::function<void()>& before_each) {
  const at::NoGradGuard no_grad;
  LossProbe probe(model, calibration, samples);
  const double rounded = probe.read().loss;
  std::map<std::string, double> effects;
  for (size_t i = 0; i < parameters.parameters().size(); ++i) {
    Parameter& parameter = *parameters.parameters()[i];
    const auto index = static_cast<int64_t>(i);
    const bool quantised = std::ranges::any_of(parameters.transforms(), [&](WorkingTransform* t) {
      return t->applies_to(index, parameter);
    });
    if (!quantised) continue;
    if (before_each) before_each();
    at::Tensor value = parameter.value().detach();
    const at::Tensor kept = value.clone();
    const bool folded = parameter.is_folded();
    const auto put_back = [&] {
      value.copy_(kept);
      parameter.set_folded(folded);
    };
    value.copy_(parameters.master_of(index));
    parameter.set_folded(false);
    try {
      effects[parameter.name()] = rounded - probe.read().loss;
    } catch (...) {
      put_back();
      throw;
    }
    put_back();
  }
  return effects;
}

InferenceComparison compare_inference(const EnergyMeasurement& measurement, double energy_seconds) {
  InferenceComparison comparison;
  in_float(measurement.model, measurement.parameters,
           [&] { comparison.in_float = *measurement.evaluator.run(); });
  const auto began = std::chrono::steady_clock::now();
  comparison.compressed = *measurement.evaluator.run();
  const std::chrono::duration<double> pass = std::chrono::steady_clock::now() - began;
  comparison.energy = measure_energy(measurement, energy_seconds, pass.count());
  return comparison;
}

}  // namespace wattle
