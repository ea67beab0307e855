#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compression/activations/activation_quantizer.h"
#include "trainer/checkpoint/files/checkpoint_meta.h"
#include "trainer/nn/model.h"

namespace wattle {

/// The quantisers of activations that round in a checkpoint, put on the model's points. They must
/// outlive the model's use. Throws Error(kFormat) for a point that the model doesn't have.
std::vector<std::unique_ptr<ActivationQuantizer>> apply_active_activations(
    const CheckpointMeta& meta, Model& model);

/// The grid that the activations of a point are rounded to.
struct ActivationGrid {
  AffineGrid grid;
  AffineScale scale;
};

/// Of the points whose activations are rounded now, by their names.
std::map<std::string, ActivationGrid> activation_grids_of(const Model& model);

}  // namespace wattle
