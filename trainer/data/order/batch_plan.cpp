#include "trainer/data/order/batch_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "common/error.h"

namespace wattle {
namespace {

constexpr int64_t kLargestDefaultMicroBatch = 8;

int64_t default_micro_batch(int64_t per_rank) {
  int64_t micro_batch = std::min(per_rank, kLargestDefaultMicroBatch);
  while (per_rank % micro_batch != 0) --micro_batch;
  return micro_batch;
}

/// The multiples of `divisor` around `value`, as people would try them.
std::string nearest_multiples(int64_t value, int64_t divisor) {
  const int64_t below = value / divisor * divisor;
  const int64_t above = below + divisor;
  return below > 0 ? fmt::format("{} or {} would be", below, above)
                   : fmt::format("{} would be", above);
}

}  // namespace

BatchPlan BatchPlan::of(int64_t global_batch, std::optional<int64_t> micro_batch, int64_t ranks) {
  if (global_batch % ranks != 0) {
    throw Error(ErrorCode::kConfig,
                fmt::format("train.global_batch: {} is not divisible by {} data-parallel ranks "
                            "({} = {} x {} + {}); {}",
                            global_batch, ranks, global_batch, ranks, global_batch / ranks,
                            global_batch % ranks, nearest_multiples(global_batch, ranks)));
  }
  const int64_t per_rank = global_batch / ranks;
  const int64_t micro = micro_batch.value_or(default_micro_batch(per_rank));
  if (per_rank % micro != 0) {
    throw Error(ErrorCode::kConfig,
                fmt::format("train.micro_batch: {} does not divide the {} samples a rank "
                            "(global_batch {} / {} ranks = {} = {} x {} + {})",
                            micro, per_rank, global_batch, ranks, per_rank, micro, per_rank / micro,
                            per_rank % micro));
  }
  return {global_batch, micro, ranks};
}

IndexRange BatchPlan::micro_batches_of(int64_t rank) const {
  const int64_t count = micro_batches() / ranks;
  return {rank * count, count};
}

IndexRange BatchPlan::samples_of(int64_t step, int64_t micro_batch_index) const {
  return {step * global_batch + micro_batch_index * micro_batch, micro_batch};
}

int64_t BatchPlan::steps_for(int64_t epochs, int64_t samples) const {
  if (epochs > kMostSteps * global_batch / samples) {
    throw Error(ErrorCode::kConfig,
                fmt::format("train.epochs: {} epochs of {} samples are more than {} steps of {}",
                            epochs, samples, kMostSteps, global_batch));
  }
  return (epochs * samples + global_batch - 1) / global_batch;
}

IndexRange EvaluationPlan::batches_of(int64_t rank) const {
  const int64_t first = rank * batches() / ranks;
  return {first, (rank + 1) * batches() / ranks - first};
}

IndexRange EvaluationPlan::samples_of(int64_t batch_index) const {
  const int64_t first = batch_index * batch;
  return {first, std::min(batch, samples - first)};
}

}  // namespace wattle
