#include "trainer/data/loader.h"

#include <numeric>
#include <utility>
#include <vector>

namespace wattle {
namespace {

std::vector<int64_t> indices_in(const IndexRange& range) {
  std::vector<int64_t> indices(static_cast<size_t>(range.count));
  std::iota(indices.begin(), indices.end(), range.first);
  return indices;
}

}  // namespace

Batch Loader::micro_batch(int64_t step, int64_t micro_batch_index) {
  std::vector<int64_t> global = indices_in(plan_.samples_of(step, micro_batch_index));
  std::vector<int64_t> local;
  local.reserve(global.size());
  for (const int64_t index : global) local.push_back(order_(index));

  Batch batch = dataset_.fetch(local);
  batch.sample_indices = std::move(global);
  consumed_.add(batch, local);
  return batch;
}

Batch evaluation_batch(const Dataset& dataset, const EvaluationPlan& plan, int64_t batch_index) {
  return dataset.fetch(indices_in(plan.samples_of(batch_index)));
}

}  // namespace wattle
