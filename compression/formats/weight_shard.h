#pragma once

#include <map>
#include <string>
#include <vector>

#include "compression/formats/weight_format.h"
#include "parallel/communicator.h"

namespace wattle {

/// A rank's part of a weight that is split along one dimension: the elements from `offset` on, as
/// many as the part has there. A format sees the part as a weight of its own, and this tells it
/// what of a scale lies elsewhere.
struct WeightShard {
  int64_t dim = 0;
  int64_t offset = 0;
  int64_t full_size = 0;  ///< of the whole weight along `dim`
  /// Those that hold the parts, each one of them; moves CPU tensors and must outlive this.
  Communicator* ranks = nullptr;
};

/// Of the weights that are split, by their names.
using WeightShards = std::map<std::string, WeightShard>;

/// The whole weight's shape.
std::vector<int64_t> whole_shape(at::IntArrayRef part, const WeightShard& shard);

/// Where a weight of this (whole) shape may be cut along a dimension: before multiples of this
/// many, so that no block and no group of values is cut. 1: anywhere, as along dim 0, and wherever
/// scales belong to channels or the tensor; the size itself: nowhere.
int64_t cut_step(const WeightFormat& format, at::IntArrayRef shape, int64_t dim);

/// Throws Error(kConfig) that names the weight, the dimension and the step if the part begins or
/// ends within a block, and Error(kInternal) if it is empty or doesn't lie in the weight.
void check_cut(const WeightFormat& format, const std::string& weight, at::IntArrayRef part,
               const WeightShard& shard);

/// Whether values on several ranks share a scale: "tensor" scales of any part, "channel" scales of
/// parts of rows. Operations that take such a shard are collective.
bool shares_scales(const WeightFormat& format, at::IntArrayRef part, const WeightShard& shard);

/// Of the whole weight's scales those that the part is rounded with.
WeightScales cut_scales(const WeightFormat& format, const WeightScales& whole, at::IntArrayRef part,
                        const WeightShard& shard);

}  // namespace wattle
