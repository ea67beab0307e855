#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "parallel/reducers/flat_layout.h"
#include "trainer/nn/parameter.h"
#include "trainer/state/named_tensor.h"
#include "trainer/state/optimizer/optimizer_options.h"

namespace wattle {

/// Elements [begin, end) of a flat buffer.
struct FlatRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t numel() const { return end - begin; }
};

/// One update: its number from 1 on (Adam's bias correction), the learning rate, and what the
/// gradients are multiplied with on the way (clipping, 1 / number of samples).
struct UpdateStep {
  int64_t number = 1;
  double learning_rate = 0;
  double gradient_scale = 1;
};

/// Updates one contiguous part of a flat master buffer: all of it, or the shard of a rank.
///
/// An update is one pass over memory, elementwise, so that its bits depend neither on the number
/// of threads nor on where shards are cut, nor on the vector width of the processor.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// `master` and `gradients` are [range().numel()], contiguous, those of range() alone; the master
  /// of the type given at creation, the gradients of that type or bfloat16. `gradients` may be
  /// changed. Throws Error(kInternal) for other shapes or types.
  virtual void update(at::Tensor master, at::Tensor gradients, const UpdateStep& step) = 0;

  /// All that a checkpoint must hold, each [range().numel()], at fixed addresses: writing into them
  /// restores the optimizer.
  virtual std::vector<NamedTensor> state() = 0;

  virtual FlatRange range() const = 0;
};

/// Where in a flat buffer weight decay applies: the parameters that decay, neighbours joined.
std::vector<FlatRange> decaying_ranges(const std::vector<Parameter*>& parameters,
                                       const FlatLayout& layout);

/// An optimizer for elements [range.begin, range.end) of the buffers of `layout`; `like` gives the
/// type (float32 or float64) and device of the master. `decaying` is sorted, in flat elements.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options,
                                          const std::vector<FlatRange>& decaying, FlatRange range,
                                          const at::Tensor& like);

}  // namespace wattle
