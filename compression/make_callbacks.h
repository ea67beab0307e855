#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compression/calibration/calibration_set.h"
#include "compression/compression_options.h"
#include "compression/formats/weight_shard.h"
#include "parallel/communicator.h"
#include "trainer/callback.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {

class Evaluator;

/// What callbacks use besides the model; must outlive them.
struct CompressionTools {
  Communicator* ranks = nullptr;  ///< null: entries that quantise activations are refused
  const CalibrationSet* calibration = nullptr;  ///< null: entries that need samples are refused
  /// Loads a teacher; throws Error(kConfig) naming `key` if it doesn't fit the model.
  std::function<Model(const std::string& path, const std::string& key)> load_teacher;
  Evaluator* evaluator = nullptr;            ///< null: baselines are not measured
  std::optional<double> budget_joules = {};  ///< of the run
  WeightShards shards = {};                  ///< the weights of the model that are parts
};

/// The callbacks of the list `compression`, in its order. `model` and `parameters` must outlive
/// them. Throws Error(kConfig) for what can be known only with the model: targets that match
/// nothing, weights that their format can't hold or whose blocks a split would cut, phases in which
/// two entries quantise one weight or the activations of one point, gptq and widths where a weight
/// is split.
std::vector<std::unique_ptr<Callback>> make_compression_callbacks(
    const std::vector<CompressionEntry>& entries, Model& model, FlatParameters& parameters,
    const CompressionTools& tools = {});

/// The same errors, without any effect: for `plan`.
void check_compression_targets(const std::vector<CompressionEntry>& entries, const Model& model,
                               const WeightShards& shards = {});
/// That the weights which the entries quantise are finite and, where they are rounded from the
/// first step on, that their formats can round them as they are now. Throws Error(kConfig) naming
/// entry, weight, place, value and format.
void check_start_weights(const std::vector<CompressionEntry>& entries, const Model& model);
/// That the samples which the entries look at besides training are finite, as
/// CalibrationSet::check() does.
void check_calibration(const std::vector<CompressionEntry>& entries,
                       const CalibrationSet& calibration);

}  // namespace wattle
