#include "parallel/reducers/communicator_reducer.h"

#include <ATen/ops/zeros.h>

#include "parallel/reducers/buckets.h"

namespace wattle {
namespace {

class CommunicatorReducer : public GradientReducer {
 public:
  CommunicatorReducer(Communicator& communicator, const FlatLayout& layout, at::ScalarType type,
                      const ReducerOptions& options)
      : communicator_(communicator),
        buckets_(layout, static_cast<int64_t>(c10::elementSize(type)), options.bucket_bytes),
        gradients_(at::zeros({layout.numel}, at::TensorOptions(type).device(options.device))) {}

  at::Tensor& gradients() override { return gradients_; }
  void begin_step(int64_t, int64_t count, int64_t) override {
    buckets_.reset();
    if (count == 0) gradients_.zero_();
  }
  void begin_micro_batch() override {}
  void mark_ready(int64_t index) override { buckets_.mark_ready(index); }
  void end_micro_batch() override {}

  void finish() override {
    if (communicator_.size() == 1) return;
    for (int bucket = 0; bucket < buckets_.count(); ++bucket) {
      const Range range = buckets_.range(bucket);
      at::Tensor part = gradients_.narrow(0, range.begin, range.size());
      communicator_.all_reduce(part, ReduceOp::kSum);
    }
  }

 private:
  Communicator& communicator_;
  Buckets buckets_;
  at::Tensor gradients_;
};

}  // namespace

std::unique_ptr<GradientReducer> make_communicator_reducer(Communicator& communicator,
                                                           const FlatLayout& layout,
                                                           at::ScalarType type,
                                                           const ReducerOptions& options) {
  return std::make_unique<CommunicatorReducer>(communicator, layout, type, options);
}

}  // namespace wattle
