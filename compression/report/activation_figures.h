#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "compression/activations/activation_quantizer.h"
#include "compression/calibration/calibration_set.h"
#include "trainer/nn/model.h"

namespace wattle {

/// An activation that is rounded.
struct ActivationFigures {
  std::string point;
  AffineGrid grid;
  AffineScale scale;
};

/// In the model's order.
std::vector<ActivationFigures> activation_figures(const Model& model);

/// Which share of its values each of them clips, on `samples` calibration samples, by their points.
/// Collective; the same on any number of ranks.
std::map<std::string, double> clipped_shares(Model& model, const CalibrationSet& calibration,
                                             int64_t samples);

}  // namespace wattle
