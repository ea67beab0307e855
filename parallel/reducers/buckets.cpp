#include "parallel/reducers/buckets.h"

#include <algorithm>
#include <string>

#include "common/error.h"

namespace wattle {

Buckets::Buckets(const FlatLayout& layout, int64_t element_bytes, int64_t bucket_bytes)
    : bucket_of_span_(layout.spans.size()), ready_(layout.spans.size()) {
  int64_t end = layout.numel;
  int64_t spans = 0;
  for (int64_t i = static_cast<int64_t>(layout.spans.size()) - 1; i >= 0; --i) {
    const int64_t begin = layout.spans[i].offset;
    bucket_of_span_[i] = count();
    ++spans;
    if (i == 0 || (end - begin) * element_bytes >= bucket_bytes) {
      ranges_.push_back({begin, end});
      spans_in_.push_back(spans);
      end = begin;
      spans = 0;
    }
  }
  reset();
}

void Buckets::reset() {
  std::fill(ready_.begin(), ready_.end(), false);
  missing_ = spans_in_;
}

int Buckets::mark_ready(int64_t span) {
  if (span < 0 || span >= static_cast<int64_t>(ready_.size()) || ready_[span]) {
    throw Error(ErrorCode::kInternal, "gradient reducer: span " + std::to_string(span) + " of " +
                                          std::to_string(ready_.size()) +
                                          " does not exist or is marked ready twice in a step");
  }
  ready_[span] = true;
  const int bucket = bucket_of_span_[span];
  return --missing_[bucket] == 0 ? bucket : -1;
}

Range share_of(const Range& range, int rank, int ranks) {
  const int64_t blocks = (range.size() + FlatLayout::kAlignment - 1) / FlatLayout::kAlignment;
  const auto cut = [&](int part) {
    return std::min(range.end, range.begin + blocks * part / ranks * FlatLayout::kAlignment);
  };
  return {cut(rank), cut(rank + 1)};
}

}  // namespace wattle
