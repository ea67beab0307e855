#pragma once

#include "launch/train/config/run_config.h"
#include "trainer/nn/model.h"

namespace wattle {

/// What only the model and the number of steps can tell is wrong with the file, before training:
/// the models that `compression` names, the formats of `export:` and the rows that they can't hold,
/// first weights that are not finite or that their format can't round. `steps`: of the run, of
/// epochs too. `options`: completed from init_from. Throws Error(kConfig).
void check_with_model(const RunConfig& config, int64_t steps, const ModelOptions& options,
                      const Model& model);

}  // namespace wattle
