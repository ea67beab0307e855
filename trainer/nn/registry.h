#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/nn/parameter.h"

namespace wattle {

/// Batch norm right after a product: with its running statistics it multiplies each output channel
/// by weight / sqrt(variance + eps), which can be folded into the product's weight.
struct FollowingNorm {
  Parameter* weight = nullptr;
  Parameter* bias = nullptr;
  at::Tensor running_mean;      ///< [channels], the model's own
  at::Tensor running_variance;  ///< [channels], the model's own
  double eps = 0;
};

/// A weight that multiplies activations: what quantisation and weight pruning work on. Its dim 0 is
/// the output channel ([out, in] or [out, in, kernel, kernel]; [vocab, width] of an embedding).
struct Weight {
  Parameter* weight = nullptr;
  Parameter* bias = nullptr;  ///< nullptr where there is none
  std::optional<FollowingNorm> norm = {};
};

/// What one unit of a group is, as pruning structures name it.
enum class UnitKind { kNeuron, kHead, kFilter };

/// The part of a tensor that belongs to a group's units: unit u owns the indices
/// [first + u * per_unit, first + (u + 1) * per_unit) of dimension `dim`.
struct UnitSlice {
  Parameter* parameter = nullptr;
  int64_t dim = 0;
  int64_t first = 0;
  int64_t per_unit = 1;
};

/// Hidden units that live between two products: made by the slices with dim 0, consumed by those
/// with dim 1. Removing a unit from every slice leaves a smaller model that computes the same but
/// for that unit's share; spreading the units over ranks makes dim 0 column-parallel and dim 1
/// row-parallel, with a sum over the ranks after the consumers.
struct UnitGroup {
  std::string name;
  UnitKind kind = UnitKind::kNeuron;
  int64_t units = 0;
  std::vector<UnitSlice> slices;
  std::vector<std::string> buffers;  ///< running statistics with one entry a unit
};

}  // namespace wattle
