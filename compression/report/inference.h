#pragma once

#include <map>
#include <optional>
#include <string>

#include "compression/calibration/calibration_set.h"
#include "trainer/loop/evaluator.h"
#include "trainer/loop/records/run_accounts.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {

/// An evaluation of the validation set, and what it took on all ranks.
struct MeasuredInference {
  Evaluation evaluation;
  std::optional<double> joules;  ///< none where nothing is known
};

/// The same weights without and with what training put between master and working values.
struct InferenceComparison {
  MeasuredInference in_float;
  MeasuredInference compressed;
  std::string energy_source;
};

/// What rounding each weight adds to the loss: the loss as forward reads the model, minus the loss
/// with that weight alone at its master value. By name; on `samples` of the calibration set.
/// Collective.
std::map<std::string, double> loss_effects(Model& model, FlatParameters& parameters,
                                           const CalibrationSet& calibration, int64_t samples);

/// Evaluates with the master values, then as forward reads them in training, which is left as it
/// was. Both passes count as inference in the run's books. Collective.
InferenceComparison compare_inference(Evaluator& evaluator, FlatParameters& parameters,
                                      RunAccounts& accounts);

}  // namespace wattle
