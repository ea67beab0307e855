#include "trainer/data/order/stream_hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include "common/error.h"

namespace wattle {
namespace {

struct SampleKey {
  int64_t global_index;
  int64_t dataset_index;
  uint64_t inputs_hash;
  uint64_t targets_hash;
};

/// The hash of row `row` along the first dim of a contiguous tensor.
uint64_t hash_row(const at::Tensor& rows, int64_t row) {
  const size_t row_bytes = rows.nbytes() / static_cast<size_t>(rows.size(0));
  return XXH3_64bits(static_cast<const char*>(rows.const_data_ptr()) + row * row_bytes, row_bytes);
}

int64_t wrapping_sum(int64_t a, uint64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + b);
}

}  // namespace

void StreamHash::add(const Batch& batch, std::span<const int64_t> dataset_indices) {
  if (batch.sample_indices.size() != dataset_indices.size()) {
    throw Error(ErrorCode::kInternal,
                fmt::format("stream hash: expected {} dataset indices, got {}",
                            batch.sample_indices.size(), dataset_indices.size()));
  }
  for (size_t row = 0; row < dataset_indices.size(); ++row) {
    const int64_t at = static_cast<int64_t>(row);
    const SampleKey key{batch.sample_indices[row], dataset_indices[row], hash_row(batch.inputs, at),
                        hash_row(batch.targets, at)};
    const XXH128_hash_t hash = XXH3_128bits(&key, sizeof key);
    lanes_ = {wrapping_sum(lanes_[0], hash.low64), wrapping_sum(lanes_[1], hash.high64)};
  }
}

void StreamHash::add(const StreamHash& other) {
  for (size_t lane = 0; lane < lanes_.size(); ++lane) {
    lanes_[lane] = wrapping_sum(lanes_[lane], static_cast<uint64_t>(other.lanes_[lane]));
  }
}

std::string StreamHash::hex() const {
  return fmt::format("{:016x}{:016x}", static_cast<uint64_t>(lanes_[1]),
                     static_cast<uint64_t>(lanes_[0]));
}

}  // namespace wattle
