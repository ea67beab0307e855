#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "compression/formats/grid_kernels.h"
#include "parallel/communicator.h"

namespace wattle {

/// Longer segments are worked on in pieces of so many values: they stay in the cache.
constexpr int64_t kPieceValues = 1 << 14;

/// How the values of a weight fall into segments and pieces.
struct Segments {
  Segments(int64_t values, int64_t segment)
      : size(segment),
        count(values / segment),
        pieces((segment + kPieceValues - 1) / kPieceValues) {}

  int64_t size;
  int64_t count;
  int64_t pieces;  ///< of each segment

  /// work(piece, segment, first value, values) for every piece, numbered through, on all threads.
  template <class Work>
  void each_piece(const Work& work) const {
    const int64_t grain = std::max<int64_t>(1, kPieceValues / size);
    at::parallel_for(0, count * pieces, grain, [&](int64_t first, int64_t end) {
      for (int64_t i = first; i < end; ++i) {
        const int64_t within = i % pieces * kPieceValues;
        work(i, i / pieces, i / pieces * size + within, std::min(kPieceValues, size - within));
      }
    });
  }
  /// The sum over each segment's pieces, in their order.
  template <class T>
  std::vector<T> joined_pieces(const std::vector<T>& parts) const {
    std::vector<T> sums(count);
    for (int64_t i = 0; i < count * pieces; ++i) sums[i / pieces] += parts[i];
    return sums;
  }
};

// Where `ranks` is given, segment i of each rank is a part of one segment, and the result, the same
// on every rank, is the whole one's to the last bit. Collective then.

/// The extremes of each segment. Throws Error(kNonFinite), on every rank, if a value is not finite.
std::vector<ValueRange> ranges_of_segments(const at::Tensor& values, int64_t segment,
                                           Communicator* ranks);

/// The sum of the magnitudes of each segment with these extremes.
std::vector<double> magnitudes_of_segments(const at::Tensor& values, int64_t segment,
                                           const std::vector<ValueRange>& ranges,
                                           Communicator* ranks);

/// In place, each element over the ranks.
void sum_over_ranks(std::vector<int64_t>& numbers, Communicator* ranks);

}  // namespace wattle
