#pragma once

#include <memory>
#include <vector>

#include "compression/compression_options.h"
#include "parallel/communicator.h"
#include "trainer/callback.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {

/// What callbacks use besides the model; must outlive them.
struct CompressionTools {
  Communicator* ranks = nullptr;  ///< null: entries that quantise activations are refused
};

/// The callbacks of the list `compression`, in its order. `model` and `parameters` must outlive
/// them. Throws Error(kConfig) for what can be known only with the model: targets that match
/// nothing, weights that their format can't hold, phases in which two entries quantise one weight
/// or the activations of one point.
std::vector<std::unique_ptr<Callback>> make_compression_callbacks(
    const std::vector<CompressionEntry>& entries, Model& model, FlatParameters& parameters,
    const CompressionTools& tools = {});

/// The same errors, without any effect: for `plan`.
void check_compression_targets(const std::vector<CompressionEntry>& entries, const Model& model);

}  // namespace wattle
