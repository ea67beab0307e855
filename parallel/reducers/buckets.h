#pragma once

#include <cstdint>
#include <vector>

#include "parallel/reducers/flat_layout.h"

namespace wattle {

/// Elements [begin, end) of a flat buffer.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

/// The whole buffer cut into contiguous buckets, from its end to its start, and which of them are
/// full in the present step. A bucket ends with the span that brings it to the size asked for.
class Buckets {
 public:
  Buckets(const FlatLayout& layout, int64_t element_bytes, int64_t bucket_bytes);

  int count() const { return static_cast<int>(ranges_.size()); }
  const Range& range(int bucket) const { return ranges_[bucket]; }

  /// Starts a step: no span is ready.
  void reset();
  /// Returns the bucket that this fills, or -1. Throws Error(kInternal) if `span` is none or is
  /// already marked.
  int mark_ready(int64_t span);
  bool full(int bucket) const { return missing_[bucket] == 0; }

 private:
  std::vector<Range> ranges_;
  std::vector<int> bucket_of_span_;
  std::vector<bool> ready_;
  std::vector<int64_t> spans_in_;
  std::vector<int64_t> missing_;
};

/// Rank r's share of a range: equal parts at multiples of FlatLayout::kAlignment elements.
Range share_of(const Range& range, int rank, int ranks);

}  // namespace wattle
