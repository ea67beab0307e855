#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "compression/quantize/weight_quantizer.h"
#include "trainer/checkpoint/checkpoint_reader.h"

namespace wattle {

/// A quantiser's weights, their formats, and which of them have fixed or learned scales. The scales
/// themselves are tensors of a checkpoint, as WeightQuantizer::state() names them.
nlohmann::json weights_to_json(const WeightQuantizer& quantizer);

/// Makes a quantiser of the same weights as it was when that was written: formats, and fixed scales
/// of the right shapes, whose values a checkpoint must then fill. `parameters`: the model's, in
/// its order; `scale_rate`: of learned scales. Throws Error(kFormat) for a weight that the
/// quantiser doesn't have.
void weights_from_json(const nlohmann::json& weights, const std::vector<Parameter*>& parameters,
                       double scale_rate, WeightQuantizer& quantizer);

/// The quantisers that are active in a checkpoint, in the order in which they apply, scales filled.
/// `model`: of the checkpoint's shape, on the CPU, with its values.
std::vector<std::unique_ptr<WeightQuantizer>> active_quantizers(const CheckpointReader& checkpoint,
                                                                const Model& model);

/// What a checkpoint's entries were to quantise from a later step on, to the end of the run: a
/// sentence each that names entry and step. `steps`: of the run, where they are known; in a
/// checkpoint after which nothing is left to do, what would begin later still never does, nor what
/// another entry, which still rounds its weights, kept from it.
std::vector<std::string> not_yet_quantised(const CheckpointMeta& meta,
                                           std::optional<int64_t> steps);

}  // namespace wattle
