#include "compression/formats/weight_shard.h"

#include <c10/util/accumulate.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <numeric>

#include "common/error.h"
#include "compression/formats/grid_format.h"

namespace wattle {
namespace {

/// Neighbours of a row that a split must leave together.
int64_t block_values(const WeightFormat& format) {
  if (const auto type = format.block_type()) return traits_of(*type).block_elements;
  const GridFormatOptions& grid = *format.grid();
  return grid.sharing == ScaleSharing::kGroup ? grid.group_size : 1;
}

/// Scales lie as [outer, along the dimension, inner] where each belongs to a block of a row.
at::Tensor cut_blocks(const at::Tensor& whole, at::IntArrayRef part, const WeightShard& shard,
                      int64_t block) {
  const int64_t outer = c10::multiply_integers(part.slice(0, shard.dim));
  const int64_t inner = c10::multiply_integers(part.slice(shard.dim + 1));
  const auto blocks = [&](int64_t size) { return size * inner / block; };
  return whole.view({outer, blocks(shard.full_size)})
      .narrow(1, blocks(shard.offset), blocks(part[shard.dim]))
      .flatten()
      .contiguous();
}

}  // namespace

std::vector<int64_t> whole_shape(at::IntArrayRef part, const WeightShard& shard) {
  std::vector<int64_t> shape = part.vec();
  shape.at(shard.dim) = shard.full_size;
  return shape;
}

int64_t cut_step(const WeightFormat& format, at::IntArrayRef shape, int64_t dim) {
  if (dim == 0) return 1;
  const int64_t block = block_values(format);
  const int64_t inner = c10::multiply_integers(shape.slice(dim + 1));
  // Each element of the dimensions before holds a run of the row, which must end with a block.
  if (shape[dim] * inner % block != 0) return shape[dim];
  return block / std::gcd(block, inner);
}

void check_cut(const WeightFormat& format, const std::string& weight, at::IntArrayRef part,
               const WeightShard& shard) {
  const auto dims = static_cast<int64_t>(part.size());
  if (shard.ranks == nullptr || shard.dim < 0 || shard.dim >= dims || shard.offset < 0 ||
      part[shard.dim] <= 0 || shard.offset + part[shard.dim] > shard.full_size) {
    throw Error(
        ErrorCode::kInternal,
        fmt::format("{}: a part of shape [{}] at {} of dimension {} doesn't lie in {}", weight,
                    fmt::join(part, ", "), shard.offset, shard.dim, shard.full_size));
  }
  const int64_t step = cut_step(format, whole_shape(part, shard), shard.dim);
  const int64_t begin = shard.offset, end = shard.offset + part[shard.dim];
  if (begin % step == 0 && (end % step == 0 || end == shard.full_size)) return;
  throw Error(ErrorCode::kConfig,
              fmt::format("{}: dimension {} of {} values: expected a split at multiples of {}, "
                          "which cuts no block of {}, got one from {} to {} (rank {} of {})",
                          weight, shard.dim, shard.full_size, step, format.name(), begin, end,
                          shard.ranks->rank(), shard.ranks->size()));
}

bool shares_scales(const WeightFormat& format, at::IntArrayRef part, const WeightShard& shard) {
  const GridFormatOptions* grid = format.grid();
  if (grid == nullptr || part[shard.dim] == shard.full_size) return false;
  return grid->sharing == ScaleSharing::kTensor ||
         (grid->sharing == ScaleSharing::kChannel && shard.dim > 0);
}

WeightScales cut_scales(const WeightFormat& format, const WeightScales& whole, at::IntArrayRef part,
                        const WeightShard& shard) {
  if (shares_scales(format, part, shard)) return whole;
  const std::vector<int64_t> shape = whole_shape(part, shard);
  const int64_t segment = c10::multiply_integers(shape) / whole.scale.numel();
  const auto cut = [&](const at::Tensor& scales) {
    return scales.defined() ? cut_blocks(scales, part, shard, segment) : at::Tensor();
  };
  return {cut(whole.scale), cut(whole.zero_point)};
}

}  // namespace wattle
