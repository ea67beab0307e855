#pragma once

#include <functional>
#include <map>
#include <string>

#include "compression/calibration/calibration_set.h"
#include "compression/report/inference_energy.h"

namespace wattle {

/// The same weights in float, without anything that training put on weights or activations, and as
/// forward reads them.
struct InferenceComparison {
  Evaluation in_float;
  Evaluation compressed;
  InferenceEnergy energy;
};

/// How much less the loss is with one weight in float and all others rounded: the loss as forward
/// reads the model, minus the loss with that weight alone at its master value. By name; on
/// `samples` of the calibration set. `before_each`, which may be empty, is called by all ranks
/// before each weight. Collective.
std::map<std::string, double> loss_effects(Model& model, FlatParameters& parameters,
                                           const CalibrationSet& calibration, int64_t samples,
                                           const std::function<void()>& before_each = nullptr);

/// Evaluates in float and as forward reads the model, which is left as it was; then measures both
/// for `energy_seconds`. Collective.
InferenceComparison compare_inference(const EnergyMeasurement& measurement, double energy_seconds);

}  // namespace wattle
