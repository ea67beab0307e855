#pragma once

#include <functional>
#include <vector>

#include "compression/calibration/calibration_set.h"
#include "compression/posttraining/format_rounder.h"
#include "compression/posttraining/gptq_section.h"
#include "compression/quantize/weight_targets.h"
#include "trainer/nn/model.h"

namespace wattle {

/// Gets the new master values of targets[i], in the parameter's shape: those that its format rounds
/// to themselves, with batch norm folded in where it is; and the scales to round them with.
using TakeGptqWeight = std::function<void(size_t i, const GptqWeight& rounded)>;

/// Rounds weights by GPTQ: matrices, and filters as the matrices that multiply an image's patches,
/// in both cases with batch norm folded in where the target says so. The inputs of all products are
/// seen in one pass of the model over the calibration set; products whose inputs were rounded
/// before them are not seen again. But where activations have hooks, one pass is made for each
/// weight in the model's order: its inputs are those of the quantised model, if `take` puts what it
/// gets where forward reads it.
///
/// Collective. Sums are all-reduced, each weight is rounded by one rank and sent to the others: all
/// get the same bits. A weight that multiplied nothing (an embedding's rows are only looked up) is
/// rounded to the nearest; one whose format doesn't round by columns is left out, for the format's
/// own rounding. Throws Error(kNonFinite) for data or inputs that are not finite.
void round_by_gptq(Model& model, const std::vector<WeightTarget>& targets,
                   const CalibrationSet& calibration, const GptqSection& options,
                   const TakeGptqWeight& take);

}  // namespace wattle
