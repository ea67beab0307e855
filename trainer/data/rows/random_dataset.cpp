#include "trainer/data/rows/random_dataset.h"

#include <ATen/ops/empty.h>

#include "trainer/data/order/counter_hash.h"

namespace wattle {
namespace {

/// The highest 24 bits as a float in [0, 1), exactly.
float uniform(uint64_t bits) { return static_cast<float>(bits >> 40) * 0x1p-24f; }

}  // namespace

RandomDataset::RandomDataset(uint64_t seed, int64_t first, int64_t size, int64_t features,
                             Targets targets)
    : seed_(seed),
      first_(first),
      size_(size),
      targets_(targets),
      shape_{SampleShape::Kind::kRow, {features}, 0} {}

Batch RandomDataset::fetch(std::span<const int64_t> indices) const {
  const int64_t features = shape_.inputs[0];
  const int64_t count = static_cast<int64_t>(indices.size());
  Batch batch{at::empty({count, features}, at::kFloat),
              at::empty({count}, at::kFloat),
              {indices.begin(), indices.end()}};
  float* input = batch.inputs.mutable_data_ptr<float>();
  float* target = batch.targets.mutable_data_ptr<float>();
  for (const int64_t index : indices) {
    const uint64_t number = static_cast<uint64_t>(first_ + index);
    for (int64_t feature = 0; feature < features; ++feature) {
      *input++ = uniform(counter_hash(seed_, number, static_cast<uint64_t>(feature)));
    }
    const float value = uniform(counter_hash(seed_, number, static_cast<uint64_t>(features)));
    *target++ = targets_ == Targets::kUniform ? value : static_cast<float>(value >= 0.5f);
  }
  return batch;
}

}  // namespace wattle
