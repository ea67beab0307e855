#pragma once

#include <cstdint>

#include "trainer/data/dataset.h"
#include "trainer/data/order/batch_plan.h"
#include "trainer/data/order/sample_order.h"
#include "trainer/data/order/stream_hash.h"

namespace wattle {

/// Gives a rank the micro-batches of its steps. It keeps no position: any micro-batch of any step
/// can be asked for, by its index over all ranks. Fetching is microseconds next to a step's
/// milliseconds, so that it happens on the calling thread. Not thread-safe because of the hash.
class Loader {
 public:
  /// The dataset must outlive the loader.
  Loader(const Dataset& dataset, const BatchPlan& plan, uint64_t seed)
      : dataset_(dataset), plan_(plan), order_(dataset.size(), seed) {}

  const BatchPlan& plan() const { return plan_; }

  /// Fetches, and counts as consumed. sample_indices are global sample indices.
  Batch micro_batch(int64_t step, int64_t micro_batch_index);

  /// Of all that this rank consumed; assign what a checkpoint says to go on from there.
  StreamHash& consumed() { return consumed_; }

 private:
  const Dataset& dataset_;
  BatchPlan plan_;
  SampleOrder order_;
  StreamHash consumed_;
};

/// Batch `batch_index` of an evaluation: samples in the dataset's own order.
Batch evaluation_batch(const Dataset& dataset, const EvaluationPlan& plan, int64_t batch_index);

}  // namespace wattle
