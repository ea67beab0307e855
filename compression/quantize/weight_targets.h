#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compression/calibration/range_observer.h"
#include "compression/compression_options.h"
#include "compression/formats/weight_format.h"
#include "compression/formats/weight_shard.h"
#include "trainer/nn/model.h"

namespace wattle {

/// A weight and the format that it is to be deployed in.
struct WeightTarget {
  std::string parameter;
  std::shared_ptr<const WeightFormat> format;
  /// Folded into the weight before it is rounded.
  std::optional<FollowingNorm> norm = {};
  /// Which part of it this rank holds; nothing: all of it.
  std::optional<WeightShard> shard = {};
  /// How the range of its scales follows from its values; nothing: by the format's own rule.
  std::optional<ObserverOptions> observer = {};
};

/// The weights of a model that the options choose, in the model's order, each with its format; what
/// stays in float is not among them. `key` is the place in the file that messages name
/// ("compression.0.quantize"), `shards` the weights of the model that are parts. Throws
/// Error(kConfig) for a pattern that matches nothing or names an embedding that stays in float, for
/// a weight that its format can't hold, and for a split that would cut a block of one.
std::vector<WeightTarget> weight_targets(const QuantizeOptions& options, const Model& model,
                                         const std::string& key, const WeightShards& shards = {});

/// The type that llama-quantize gives the output layer (or the embedding that it is tied to) when
/// it quantises a model to `format` without --pure and without an importance matrix: Q6_K, or Q8_0
/// where that is the format or a row is no multiple of 256 (llama-quant.cpp,
/// llama_tensor_get_type_impl and tensor_type_fallback).
std::shared_ptr<const WeightFormat> mixed_output_format(const WeightFormat& format,
                                                        int64_t columns);

}  // namespace wattle
