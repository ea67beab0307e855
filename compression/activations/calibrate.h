#pragma once

#include <cstdint>
#include <span>

#include "compression/activations/activation_quantizer.h"
#include "compression/calibration/calibration_set.h"
#include "trainer/nn/model.h"

namespace wattle {

/// Gives quantisers that are on their points and have seen nothing yet their ranges, by their
/// observers, from forward passes on `samples` calibration samples: each batch of them counts as
/// one global batch. Collective; the same on any number of ranks. Throws Error(kNonFinite).
void calibrate(Model& model, std::span<ActivationQuantizer* const> quantizers,
               const CalibrationSet& calibration, int64_t samples);

}  // namespace wattle
