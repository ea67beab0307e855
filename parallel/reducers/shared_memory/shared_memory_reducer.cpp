#include "parallel/reducers/shared_memory/shared_memory_reducer.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <vector>

#include "parallel/reducers/buckets.h"
#include "parallel/reducers/kernels.h"
#include "parallel/reducers/shared_memory/rank_events.h"
#include "parallel/reducers/shared_memory/shared_buffer.h"

namespace wattle {
namespace {

/// Sums [begin, begin + n) over the buffers in their order and writes the sum into all of them.
template <class T>
void sum_chunk(const std::vector<T*>& buffers, int64_t begin, int64_t n) {
  std::array<SumOf<T>, kChunk> sum;
  convert_elements(sum.data(), buffers[0] + begin, n);
  for (size_t rank = 1; rank < buffers.size(); ++rank)
    add_elements(sum.data(), buffers[rank] + begin, n);
  for (T* buffer : buffers) convert_elements(buffer + begin, sum.data(), n);
}

template <class T>
class SharedMemoryReducer : public GradientReducer {
 public:
  SharedMemoryReducer(Communicator& communicator, const FlatLayout& layout, at::ScalarType type,
                      const ReducerOptions& options)
      : rank_(communicator.rank()),
        buckets_(layout, sizeof(T), options.bucket_bytes),
        buffer_(communicator, layout.numel, type),
        gradients_(buffer_.tensor()),
        events_(communicator, buckets_.count() + 1),
        is_reduced_(buckets_.count()) {
    for (int rank = 0; rank < communicator.size(); ++rank) {
      buffers_.push_back(buffer_.of<T>(rank));
    }
  }

  at::Tensor& gradients() override { return gradients_; }

  void begin_step(int64_t, int64_t count, int64_t) override {
    ++step_;
    buckets_.reset();
    std::fill(is_reduced_.begin(), is_reduced_.end(), false);
    if (count == 0) gradients_.zero_();
  }
  void begin_micro_batch() override {}
  void end_micro_batch() override {}

  void mark_ready(int64_t index) override {
    const int bucket = buckets_.mark_ready(index);
    if (bucket < 0) return;
    events_.announce(bucket, step_);
    reduce_what_is_ready();
  }

  void finish() override {
    for (int bucket = 0; bucket < buckets_.count(); ++bucket) {
      if (!buckets_.full(bucket)) events_.announce(bucket, step_);
    }
    for (int bucket = 0; bucket < buckets_.count(); ++bucket) {
      reduce_what_is_ready();
      if (is_reduced_[bucket]) continue;
      events_.wait([&] { return events_.reached(bucket, step_); });
      reduce(bucket);
    }
    events_.announce(all_buckets(), step_);
    events_.wait([&] { return events_.reached(all_buckets(), step_); });
  }

 private:
  /// The counter that tells that a rank has reduced its share of every bucket.
  int all_buckets() const { return buckets_.count(); }

  void reduce_what_is_ready() {
    for (int bucket = 0; bucket < buckets_.count(); ++bucket) {
      if (!is_reduced_[bucket] && events_.reached(bucket, step_)) reduce(bucket);
    }
  }

  void reduce(int bucket) {
    const Range share = share_of(buckets_.range(bucket), rank_, static_cast<int>(buffers_.size()));
    at::parallel_for(share.begin, share.end, 16 * kChunk, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += kChunk) {
        sum_chunk(buffers_, i, std::min(kChunk, end - i));
      }
    });
    is_reduced_[bucket] = true;
  }

  int rank_;
  Buckets buckets_;
  SharedBuffer buffer_;
  at::Tensor gradients_;
  RankEvents events_;
  std::vector<T*> buffers_;
  std::vector<bool> is_reduced_;
  uint32_t step_ = 0;
};

}  // namespace

std::unique_ptr<GradientReducer> make_shared_memory_reducer(Communicator& communicator,
                                                            const FlatLayout& layout,
                                                            at::ScalarType type,
                                                            const ReducerOptions& options) {
  std::unique_ptr<GradientReducer> reducer;
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, type, "gradient reducer", [&] {
    reducer = std::make_unique<SharedMemoryReducer<scalar_t>>(communicator, layout, type, options);
  });
  return reducer;
}

}  // namespace wattle
