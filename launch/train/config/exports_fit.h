#pragma once

#include "launch/train/config/run_config.h"
#include "trainer/nn/model.h"

namespace wattle {

/// What can be told of `export` from the file alone: families, and targets of `compression` that a
/// file of that kind can't hold. What is wrong goes to `c`.
void check_exports(const RunConfig& config, Checker& c);

/// Whether an entry quantises at the end of the run, as far as the file alone tells, or may do so
/// because training may stop early.
bool may_deploy(const RunConfig& config, const QuantizeOptions& options);

/// The same once `train.steps` is known, of epochs too, and which weights get a format that is not
/// among `widths.formats`, since none of those fits their rows: before training. Throws
/// Error(kConfig) naming the keys.
void check_exports_with_model(const RunConfig& config, const Model& model);

/// The same for the family of a model that came from a file, and whether there will be anything for
/// compressed-tensors to hold: before training. Throws Error(kConfig) naming the key.
void check_exports_of_family(const RunConfig& config, ModelFamily family);

}  // namespace wattle
