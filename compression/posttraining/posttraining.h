#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compression/activations/calibrate.h"
#include "compression/calibration/calibration_set.h"
#include "compression/posttraining/gptq_section.h"
#include "compression/quantize/weight_targets.h"
#include "trainer/nn/model.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {

/// What of a model is quantised, and how, without anything that training found out: no scales, no
/// ranges, only by which rule they are found.
struct QuantisedParts {
  std::vector<WeightTarget> weights;
  std::vector<ActivationSite> activations;
};

/// Of a model as forward reads it now.
QuantisedParts quantised_parts(const Model& model, const FlatParameters& parameters);

/// "" or what `model` lacks to be quantised likewise: a weight of that name and shape, a point.
/// `like`: the model that `parts` are of.
std::string lacks(const Model& model, const QuantisedParts& parts, const Model& like);

/// How post-training quantisation looks at samples.
struct PostTrainingOptions {
  const CalibrationSet& calibration;
  int64_t samples = 0;                   ///< on which ranges of activations are calibrated
  std::optional<GptqSection> gptq = {};  ///< round by GPTQ too, so
};

/// How `baseline: gptq` rounds: as the entry itself, where it does; nothing for other baselines.
std::optional<GptqSection> baseline_gptq(const QuantizeOptions& options);

/// Losses of one float model: as it is, and quantised with nothing trained for it.
struct PostTrainingLosses {
  double in_float = 0;
  double nearest = 0;               ///< each weight rounded to the nearest
  std::optional<double> gptq = {};  ///< weights rounded by GPTQ
};

/// Post-training quantisation of a float model, whose values are put back as they were: scales by
/// each weight's observer, or where it has none by its format's own rule; ranges of activations by
/// their observers from the float model's activations on the calibration samples (each batch of
/// them as one global batch), biases of rounded products in int32. `model`: without hooks and
/// transforms. `evaluate` gives its loss. Collective; the same on any number of ranks if `evaluate`
/// is. Throws Error(kNonFinite) for samples or activations that are not finite.
PostTrainingLosses evaluate_after_rounding(Model& model, const QuantisedParts& parts,
                                           const PostTrainingOptions& options,
                                           const std::function<double()>& evaluate);

}  // namespace wattle
