#include "trainer/data/order/sample_order.h"

#include <bit>
#include <string>

#include "common/error.h"
#include "trainer/data/order/counter_hash.h"

namespace wattle {
namespace {

int half_bits_for(int64_t size) {
  const int bits = size > 1 ? std::bit_width(static_cast<uint64_t>(size - 1)) : 0;
  return (bits + 1) / 2;
}

}  // namespace

Permutation::Permutation(int64_t size, uint64_t key)
    : size_(size), half_bits_(half_bits_for(size)), keys_() {
  for (int round = 0; round < kRounds; ++round) keys_[round] = counter_hash(key, round);
}

int64_t Permutation::operator()(int64_t position) const {
  uint64_t value = static_cast<uint64_t>(position);
  do {
    value = permute(value);
  } while (value >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(value);
}

uint64_t Permutation::permute(uint64_t value) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = value >> half_bits_;
  uint64_t right = value & mask;
  for (const uint64_t key : keys_) {
    const uint64_t next = left ^ (mix64(right ^ key) & mask);
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

SampleOrder::SampleOrder(int64_t size, uint64_t seed) : size_(size), seed_(seed) {
  if (size < 1) {
    throw Error(ErrorCode::kConfig,
                "data: expected at least one training sample, got " + std::to_string(size));
  }
}

int64_t SampleOrder::operator()(int64_t global_index) const {
  const uint64_t epoch_key = counter_hash(seed_, static_cast<uint64_t>(epoch_of(global_index)));
  return Permutation(size_, epoch_key)(global_index % size_);
}

}  // namespace wattle
