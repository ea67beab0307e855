#pragma once

#include "launch/train/config/run_config.h"
#include "trainer/nn/model.h"

namespace wattle {

/// What only the model can tell is wrong with the file, before training: the models that
/// `compression` names, the formats of `export:` and the rows that they can't hold, first weights
/// that are not finite or that their format can't round. `options`: completed from init_from.
/// Throws Error(kConfig).
void check_with_model(const RunConfig& config, const ModelOptions& options, const Model& model);

}  // namespace wattle
