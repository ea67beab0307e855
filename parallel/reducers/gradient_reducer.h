#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "parallel/communicator.h"
#include "parallel/reducers/flat_layout.h"

namespace wattle {

/// How gradients are summed over micro-batches and ranks.
struct ReducerOptions {
  /// Sum by a fixed binary tree over the global micro-batch index: the same bits whatever the
  /// number of ranks that the micro-batches are spread over.
  bool deterministic = false;
  int64_t bucket_bytes = 25 << 20;
  /// False: sums go through the communicator even where the ranks share a host.
  bool share_memory = true;
  /// Where the gradients lie; the communicator must move tensors of this device.
  c10::DeviceType device = c10::kCPU;
};

/// Owns the flat gradient buffer of a model and makes it the sum over all micro-batches of a step.
///
/// A step:
///   reducer.begin_step(first, count)      this rank's micro-batches, by global index
///   for each: begin_micro_batch(); backward writes gradients(), on its last micro-batch
///             calling mark_ready(span) as each is final; end_micro_batch()
///             (deterministic: each micro-batch overwrites gradients(), as the first of a step
///             does)
///   reducer.finish()                      gradients() now holds the sum of all ranks' gradients
///
/// Buckets are contiguous ranges of the layout, filled from its end to its start (the order of
/// backward). Full buckets are reduced while backward still runs as far as that costs it nothing.
/// finish() is collective. No step allocates after the first. Not thread-safe.
class GradientReducer {
 public:
  virtual ~GradientReducer() = default;

  /// [layout.numel], of the dtype asked for at creation; stays at one address.
  virtual at::Tensor& gradients() = 0;

  /// This rank's micro-batches of the step are [first, first + count) of `total`, possibly none.
  /// Collective where sums are deterministic.
  virtual void begin_step(int64_t first, int64_t count, int64_t total) = 0;
  virtual void begin_micro_batch() = 0;
  /// Span `index` of the layout gets no more gradients in this step.
  virtual void mark_ready(int64_t index) = 0;
  virtual void end_micro_batch() = 0;
  virtual void finish() = 0;
};

/// The reducer that moves the least for this group: shared memory where all ranks are on one host,
/// the communicator otherwise. Collective. `communicator` must outlive it. Throws
/// Error(kUnsupported) if `type` is not float32, float64 or bfloat16, or if CUDA gradients are to
/// be deterministic, and Error(kInternal) if the ranks' arguments differ. Sums of bfloat16 are
/// taken in float32.
std::unique_ptr<GradientReducer> make_gradient_reducer(Communicator& communicator,
                                                       const FlatLayout& layout,
                                                       at::ScalarType type,
                                                       const ReducerOptions& options);

}  // namespace wattle
