#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "trainer/nn/model.h"

namespace wattle {

/// Proves that two runs consumed the same samples in the same order: the sum, modulo 2^128 in two
/// lanes, of a hash of (global sample index, dataset index, content) of every sample. The sum does
/// not depend on who adds what when, so ranks hash what they consume and add up theirs; the global
/// index inside each hash makes it depend on the order all the same.
///
/// A checkpoint keeps the sum over the ranks; after a restart one rank starts from it and the
/// others from zero.
class StreamHash {
 public:
  StreamHash() = default;
  explicit StreamHash(std::array<int64_t, 2> lanes) : lanes_(lanes) {}

  /// Adds a micro-batch on the CPU; dataset_indices[i] is where row i came from.
  void add(const Batch& batch, std::span<const int64_t> dataset_indices);
  void add(const StreamHash& other);

  /// As signed numbers, which an all-reduce adds with the same wrap-around.
  const std::array<int64_t, 2>& lanes() const { return lanes_; }
  std::string hex() const;
  bool operator==(const StreamHash&) const = default;

 private:
  std::array<int64_t, 2> lanes_ = {0, 0};
};

}  // namespace wattle
