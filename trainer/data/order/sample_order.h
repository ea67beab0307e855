#pragma once

#include <array>
#include <cstdint>

namespace wattle {

/// A pseudo-random permutation of [0, size) that is computed, not stored: any position is found in
/// O(1) time and memory. A balanced Feistel network (Luby and Rackoff 1988) permutes the least
/// power of four that holds `size`; a value outside is permuted again until it falls inside (cycle
/// walking, Black and Rogaway 2002), four times at most on average.
class Permutation {
 public:
  /// Equal sizes and keys give equal permutations, on every machine.
  Permutation(int64_t size, uint64_t key);

  int64_t size() const { return size_; }
  /// position in [0, size).
  int64_t operator()(int64_t position) const;

 private:
  static constexpr int kRounds = 8;

  uint64_t permute(uint64_t value) const;

  int64_t size_;
  int half_bits_;
  std::array<uint64_t, kRounds> keys_;
};

/// The order in which training meets the samples of a dataset. The global sample index counts
/// samples from the start of training, over all steps and ranks; each epoch is another permutation.
/// A pure function of (seed, global sample index): a run goes on, on any number of ranks, knowing
/// only how many samples were consumed.
class SampleOrder {
 public:
  /// Throws Error(kConfig) if size is not positive.
  SampleOrder(int64_t size, uint64_t seed);

  int64_t epoch_of(int64_t global_index) const { return global_index / size_; }
  /// The index in the dataset of a global sample index >= 0.
  int64_t operator()(int64_t global_index) const;

 private:
  int64_t size_;
  uint64_t seed_;
};

}  // namespace wattle
