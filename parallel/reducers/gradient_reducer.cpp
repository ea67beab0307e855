#include "parallel/reducers/gradient_reducer.h"

#include <ATen/ops/empty.h>

#include <string>

#include "common/error.h"
#include "parallel/reducers/communicator_reducer.h"
#include "parallel/reducers/deterministic/deterministic_reducer.h"
#include "parallel/reducers/shared_memory/shared_memory_reducer.h"

namespace wattle {
namespace {

void check_request(const FlatLayout& layout, at::ScalarType type, const ReducerOptions& options) {
  const auto require = [](bool holds, const std::string& message) {
    if (!holds) throw Error(ErrorCode::kUnsupported, "gradient reducer: " + message);
  };
  require(layout.numel > 0, "the layout is empty");
  require(options.bucket_bytes > 0, "expected bucket_bytes above 0");
  require(
      type == at::kFloat || type == at::kDouble || type == at::kBFloat16,
      std::string("expected float32, float64 or bfloat16 gradients, got ") + c10::toString(type));
  require(!options.deterministic || options.device == c10::kCPU,
          "deterministic sums are for CPU tensors in this version");
}

/// Throws on every rank if the buffers of any two differ.
void check_agreement(Communicator& communicator, const FlatLayout& layout, at::ScalarType type,
                     const ReducerOptions& options) {
  const int64_t values[] = {layout.numel, static_cast<int64_t>(layout.spans.size()),
                            static_cast<int64_t>(type), options.deterministic,
                            options.bucket_bytes};
  constexpr int64_t kValues = std::size(values);
  at::Tensor extremes = at::empty({2 * kValues}, at::kLong);
  int64_t* extreme = extremes.data_ptr<int64_t>();
  for (int64_t i = 0; i < kValues; ++i) {
    extreme[i] = values[i];
    extreme[kValues + i] = -values[i];
  }
  extremes = extremes.to(options.device);
  communicator.all_reduce(extremes, ReduceOp::kMax);
  extremes = extremes.cpu();
  extreme = extremes.data_ptr<int64_t>();
  for (int64_t i = 0; i < kValues; ++i) {
    if (extreme[i] == -extreme[kValues + i]) continue;
    throw Error(ErrorCode::kInternal, "gradient reducer on rank " +
                                          std::to_string(communicator.rank()) +
                                          ": the ranks' layouts, types or options differ; here " +
                                          std::to_string(layout.numel) + " " + c10::toString(type) +
                                          " in " + std::to_string(layout.spans.size()) + " spans");
  }
}

}  // namespace

std::unique_ptr<GradientReducer> make_gradient_reducer(Communicator& communicator,
                                                       const FlatLayout& layout,
                                                       at::ScalarType type,
                                                       const ReducerOptions& options) {
  check_request(layout, type, options);
  check_agreement(communicator, layout, type, options);
  const bool shares_memory = options.share_memory && communicator.size() > 1 &&
                             options.device == c10::kCPU && communicator.share(1) != nullptr;
  if (options.deterministic) {
    return make_deterministic_reducer(communicator, layout, type, shares_memory);
  }
  if (shares_memory) return make_shared_memory_reducer(communicator, layout, type, options);
  return make_communicator_reducer(communicator, layout, type, options);
}

}  // namespace wattle
