#pragma once

#include <cstdint>
#include <optional>

namespace wattle {

/// A contiguous range [first, first + count).
struct IndexRange {
  int64_t first = 0;
  int64_t count = 0;
  int64_t end() const { return first + count; }
  bool operator==(const IndexRange&) const = default;
};

/// The most steps that a run may have: with the largest batch (train.global_batch), the index of
/// every sample fits into 64 bits.
inline constexpr int64_t kMostSteps = int64_t{1} << 32;

/// How a step's samples are cut into micro-batches and shared among the data-parallel ranks.
///
/// Step s consumes the global sample indices [s * global_batch, (s + 1) * global_batch), cut into
/// micro-batches of micro_batch samples. Micro-batches are counted within the step over all ranks:
/// rank r has a contiguous range of them. Samples run on across the end of an epoch, so that every
/// step is whole and no sample is dropped.
struct BatchPlan {
  int64_t global_batch = 0;
  int64_t micro_batch = 0;
  int64_t ranks = 1;

  /// micro_batch defaults to the largest divisor of the batch per rank up to 8. Throws
  /// Error(kConfig) with the arithmetic if the numbers don't divide.
  static BatchPlan of(int64_t global_batch, std::optional<int64_t> micro_batch, int64_t ranks);

  /// Micro-batches of a step over all ranks.
  int64_t micro_batches() const { return global_batch / micro_batch; }
  IndexRange micro_batches_of(int64_t rank) const;
  /// The global sample indices of a micro-batch.
  IndexRange samples_of(int64_t step, int64_t micro_batch_index) const;
  /// Steps that show every one of `samples` at least `epochs` times; the last one runs on into the
  /// epoch after them. Throws Error(kConfig) if they are more than kMostSteps.
  int64_t steps_for(int64_t epochs, int64_t samples) const;
};

/// How evaluation walks a dataset once, in its own order: batch b holds samples [b * batch, ...),
/// the last one fewer; rank r has a contiguous range of the batches, which may be empty.
struct EvaluationPlan {
  int64_t samples = 0;
  int64_t batch = 1;
  int64_t ranks = 1;

  int64_t batches() const { return (samples + batch - 1) / batch; }
  IndexRange batches_of(int64_t rank) const;
  IndexRange samples_of(int64_t batch_index) const;
};

}  // namespace wattle
