#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "trainer/state/optimizer/optimizer.h"

namespace wattle {

/// A stretch of a shard whose elements all decay or all don't, counted from the shard's begin.
struct DecayGroup {
  FlatRange range;
  bool decays = false;
};

/// Throws Error(kInternal) unless the buffers of an update fit the optimizer's range and types.
void check_update(Optimizer& optimizer, const at::Tensor& master, const at::Tensor& gradients);

/// The optimizers by LibTorch's fused operators, for masters that are not on the CPU. The same
/// formulas and the same state as the others; the bits are the device's.
std::unique_ptr<Optimizer> make_device_optimizer(const OptimizerOptions& options,
                                                 std::vector<DecayGroup> groups, FlatRange range,
                                                 const at::Tensor& like);

}  // namespace wattle
