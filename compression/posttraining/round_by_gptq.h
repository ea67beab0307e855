#pragma once

#include <functional>
#include <vector>

#include "compression/calibration/calibration_set.h"
#include "compression/posttraining/format_rounder.h"
#include "compression/posttraining/gptq_section.h"
#include "compression/quantize/weight_targets.h"
#include "trainer/nn/model.h"

namespace wattle {

/// Rounds weights by GPTQ, after one pass of the model over the calibration set in which every
/// product's inputs are seen. Products whose inputs were rounded before them are not seen again:
/// the Hessians are the float model's.
///
/// Collective. Sums are all-reduced, each weight is rounded by one rank and sent to the others: all
/// get the same bits. `take(i, rounded)` gets those of targets[i]. A weight that multiplied nothing
/// (an embedding's rows are only looked up) is rounded to the nearest; one whose format doesn't
/// round by columns is left out, for the format's own rounding. Throws Error(kConfig) for a weight
/// that is no matrix, Error(kNonFinite) for data or inputs that are not finite.
void round_by_gptq(Model& model, const std::vector<WeightTarget>& targets,
                   const CalibrationSet& calibration, const GptqSection& options,
                   const std::function<void(size_t i, const GptqWeight& rounded)>& take);

/// What is wrong with these weights for GPTQ: "" or a message that names one.
std::string gptq_refusal(const std::vector<WeightTarget>& targets, const Model& model);

}  // namespace wattle
