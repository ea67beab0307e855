#pragma once

#include <string>
#include <vector>

#include "launch/train/config/run_config.h"
#include "trainer/data/dataset.h"

namespace wattle {

/// Why a model can't take what the configuration gives it.
struct Misfit {
  std::string key;
  std::string message;
};

/// What can be said of a model of this shape before any data is opened: empty if it fits. The shape
/// is the file's, or completed from the one that model.init_from names.
std::vector<Misfit> misfits(const ModelOptions& model, const RunConfig& config);

/// Throws Error(kConfig) with every misfit, a line each.
void check_model_takes(const ModelOptions& model, const RunConfig& config);

/// Whether it can take such samples, once the data is open. Throws Error(kConfig) naming the key.
void check_model_takes(const ModelOptions& model, const SampleShape& sample);

}  // namespace wattle
