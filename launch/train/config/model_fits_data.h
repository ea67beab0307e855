#pragma once

#include "launch/train/config/run_config.h"
#include "trainer/data/dataset.h"

namespace wattle {

/// Whether a model of this shape, completed from the file it came from, can take the sequences that
/// the configuration asks for: before texts are tokenised. Throws Error(kConfig) naming the key.
void check_model_takes(const ModelOptions& model, const RunConfig& config);

/// Whether it can take such samples, once the data is open. Throws Error(kConfig) naming the key.
void check_model_takes(const ModelOptions& model, const SampleShape& sample);

}  // namespace wattle
