#include "launch/train/plan/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>

namespace wattle {
namespace {

class Counter final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t alloc_size, size_t, size_t, c10::Device) override {
    held_ += alloc_size;  // negative when memory is freed
    peak_ = std::max(peak_, held_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }

 private:
  int64_t held_ = 0;
  int64_t peak_ = 0;
};

}  // namespace

struct TensorMemory::Watch {
  std::shared_ptr<Counter> counter = std::make_shared<Counter>();
  c10::DebugInfoGuard guard{c10::DebugInfoKind::PROFILER_STATE, counter};
};

TensorMemory::TensorMemory() : watch_(std::make_unique<Watch>()) {}
TensorMemory::~TensorMemory() = default;

int64_t TensorMemory::peak_bytes() const { return watch_->counter->peak(); }

}  // namespace wattle
