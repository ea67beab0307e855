#pragma once

// What every gradient reducer promises, as tests that run on each rank of any communicator.

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "parallel/gradient_reducer.h"

namespace wattle::contract {

/// Twenty tensors of odd sizes.
inline FlatLayout some_layout() {
  std::vector<std::pair<std::string, int64_t>> tensors;
  for (int i = 0; i < 20; ++i) tensors.push_back({"tensor" + std::to_string(i), 1 + 37 * i});
  return FlatLayout::of(tensors);
}

/// Several steps of one micro-batch a rank, spans marked ready in the order of backward up to
/// `unmarked` of them; sums are exact in every type.
inline void sums_over_all_ranks(Communicator& c) {
  const FlatLayout layout = some_layout();
  for (at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    auto reducer = make_gradient_reducer(c, layout, type, {.bucket_bytes = 4000});
    const void* address = reducer->gradients().data_ptr();
    for (int step = 0; step < 5; ++step) {
      const auto unmarked = step * 4;
      reducer->begin_step(c.rank(), 1, c.size());
      reducer->begin_micro_batch();
      for (int i = static_cast<int>(layout.spans.size()) - 1; i >= 0; --i) {
        const auto& span = layout.spans[i];
        reducer->gradients()
            .narrow(0, span.offset, span.numel)
            .fill_((i % 8 + step) * (c.rank() + 1));
        if (i >= unmarked) reducer->mark_ready(i);
      }
      reducer->end_micro_batch();
      reducer->finish();
      EXPECT_EQ(reducer->gradients().data_ptr(), address);
      const int rank_sum = c.size() * (c.size() + 1) / 2;
      for (size_t i = 0; i < layout.spans.size(); ++i) {
        const auto& span = layout.spans[i];
        const at::Tensor part = reducer->gradients().narrow(0, span.offset, span.numel);
        const double expected = static_cast<double>((i % 8 + step) * rank_sum);
        EXPECT_TRUE(part.eq(expected).all().item<bool>())
            << c10::toString(type) << " step " << step << " span " << span.name << ": "
            << part[0].item<double>() << ", expected " << expected;
      }
    }
    c.barrier();
  }
}

}  // namespace wattle::contract
