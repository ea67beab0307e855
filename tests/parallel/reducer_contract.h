#pragma once

// What every gradient reducer promises, as tests that run on each rank of any communicator.

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "parallel/micro_batches.h"
#include "parallel/reducers/gradient_reducer.h"
#include "tests/parallel/refusal.h"

namespace wattle::contract {

/// Twenty tensors of odd sizes.
inline FlatLayout some_layout() {
  std::vector<std::pair<std::string, int64_t>> tensors;
  for (int i = 0; i < 20; ++i) tensors.push_back({"tensor" + std::to_string(i), 1 + 37 * i});
  return FlatLayout::of(tensors);
}

/// The ways that a reducer may be asked for.
inline std::vector<ReducerOptions> every_way() {
  std::vector<ReducerOptions> ways;
  for (bool deterministic : {false, true}) {
    for (bool share_memory : {false, true}) {
      ways.push_back({deterministic, 4000, share_memory});
    }
  }
  return ways;
}

inline std::string describe(const ReducerOptions& way, at::ScalarType type) {
  return std::string(way.deterministic ? "deterministic" : "plain") +
         (way.share_memory ? ", shared memory, " : ", communicator, ") + c10::toString(type);
}

/// Several steps of one micro-batch a rank; fewer and fewer spans are marked ready, in the order of
/// backward. Sums are exact in every type.
inline void sums_in_one_way(Communicator& c, at::ScalarType type, const ReducerOptions& way) {
  const FlatLayout layout = some_layout();
  auto reducer = make_gradient_reducer(c, layout, type, way);
  const void* address = reducer->gradients().data_ptr();
  const int rank_sum = c.size() * (c.size() + 1) / 2;
  for (int step = 0; step < 5; ++step) {
    reducer->begin_step(c.rank(), 1, c.size());
    reducer->begin_micro_batch();
    for (int i = static_cast<int>(layout.spans.size()) - 1; i >= 0; --i) {
      const auto& span = layout.spans[i];
      const int value = (i % 8 + step) * (c.rank() + 1);
      reducer->gradients().narrow(0, span.offset, span.numel).fill_(value);
      if (i >= step * 4) reducer->mark_ready(i);
    }
    reducer->end_micro_batch();
    reducer->finish();
    EXPECT_EQ(reducer->gradients().data_ptr(), address);
    for (size_t i = 0; i < layout.spans.size(); ++i) {
      const auto& span = layout.spans[i];
      const at::Tensor sum = reducer->gradients().narrow(0, span.offset, span.numel);
      const int expected = (static_cast<int>(i) % 8 + step) * rank_sum;
      EXPECT_TRUE(sum.eq(expected).all().item<bool>())
          << "step " << step << " " << span.name << ": " << sum[0].item<double>();
    }
  }
  c.barrier();
}

inline void sums_over_all_ranks(Communicator& c) {
  for (const ReducerOptions& way : every_way()) {
    for (at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
      SCOPED_TRACE(describe(way, type));
      sums_in_one_way(c, type, way);
    }
  }
}

/// One step in which every rank's gradient is `value`, everywhere.
inline at::Tensor sum_of(Communicator& c, at::ScalarType type, const ReducerOptions& way,
                         double value, const MicroBatches& share, int64_t total) {
  auto reducer = make_gradient_reducer(c, some_layout(), type, way);
  reducer->gradients().fill_(77);  // of an earlier step
  reducer->begin_step(share.first, share.count, total);
  for (int64_t i = 0; i < share.count; ++i) {
    reducer->begin_micro_batch();
    reducer->gradients().fill_(value);
    reducer->end_micro_batch();
  }
  reducer->finish();
  c.barrier();
  return reducer->gradients();
}

inline void sums_bfloat16_in_float32(Communicator& c) {
  // In bfloat16, 256 + 1 is 256: only a float32 sum sees the ones of the ranks above 0.
  const double expected = at::full({}, 255.0 + c.size()).to(at::kBFloat16).item<double>();
  for (const ReducerOptions& way : every_way()) {
    SCOPED_TRACE(describe(way, at::kBFloat16));
    const at::Tensor sum =
        sum_of(c, at::kBFloat16, way, c.rank() == 0 ? 256 : 1, {c.rank(), 1}, c.size());
    EXPECT_TRUE(sum.eq(expected).all().item<bool>()) << sum[0].item<double>();
  }
}

inline void a_rank_without_micro_batches_adds_nothing(Communicator& c) {
  for (const ReducerOptions& way : every_way()) {
    SCOPED_TRACE(describe(way, at::kFloat));
    const MicroBatches share = c.rank() == 0 ? MicroBatches{0, 1} : MicroBatches{1, 0};
    EXPECT_TRUE(sum_of(c, at::kFloat, way, 3, share, 1).eq(3).all().item<bool>());
  }
}

/// The gradient of a micro-batch: numbers of very different sizes, so that the order of a sum
/// shows.
inline at::Tensor gradient_of(int64_t micro_batch, int64_t numel, at::ScalarType type) {
  std::mt19937_64 random(static_cast<uint64_t>(micro_batch));
  at::Tensor gradient = at::empty({numel}, at::kDouble);
  for (int64_t i = 0; i < numel; ++i) {
    const double sign = random() % 2 == 0 ? 1.0 : -1.0;
    gradient.data_ptr<double>()[i] =
        sign * std::ldexp(1.0 + static_cast<double>(random() % 4096) / 4096,
                          static_cast<int>(random() % 16));
  }
  return gradient.to(type);
}

/// The definition of the tree, as plain recursion: the sum of [begin, begin + width) below total.
inline at::Tensor tree_sum(int64_t begin, int64_t width, int64_t total, int64_t numel,
                           at::ScalarType type) {
  if (width == 1) {
    return gradient_of(begin, numel, type).to(type == at::kBFloat16 ? at::kFloat : type);
  }
  const int64_t half = width / 2;
  const at::Tensor left = tree_sum(begin, half, total, numel, type);
  if (begin + half >= total) return left;
  return left.add(tree_sum(begin + half, half, total, numel, type));
}

/// Random cuts of [0, total) into a share for each rank, some of them empty.
inline std::vector<MicroBatches> random_shares(std::mt19937_64& random, int ranks, int64_t total) {
  std::vector<int64_t> cuts = {0, total};
  for (int i = 1; i < ranks; ++i) cuts.push_back(static_cast<int64_t>(random() % (total + 1)));
  std::sort(cuts.begin(), cuts.end());
  std::vector<MicroBatches> shares;
  for (int rank = 0; rank < ranks; ++rank) {
    shares.push_back({cuts[rank], cuts[rank + 1] - cuts[rank]});
  }
  return shares;
}

inline void sums_are_the_same_on_any_number_of_ranks(Communicator& c, int steps) {
  const FlatLayout layout = FlatLayout::of({{"a", 900}, {"b", 1300}});
  std::mt19937_64 random(2026);  // the same on every rank
  for (bool share_memory : {false, true}) {
    for (at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
      const ReducerOptions way{true, 4000, share_memory};
      SCOPED_TRACE(describe(way, type));
      auto reducer = make_gradient_reducer(c, layout, type, way);
      for (int step = 0; step < steps; ++step) {
        const auto total = static_cast<int64_t>(1 + random() % 21);
        const MicroBatches share = random_shares(random, c.size(), total)[c.rank()];
        reducer->begin_step(share.first, share.count, total);
        for (int64_t i = share.first; i < share.first + share.count; ++i) {
          reducer->begin_micro_batch();
          reducer->gradients().copy_(gradient_of(i, layout.numel, type));
          reducer->end_micro_batch();
        }
        reducer->finish();
        const at::Tensor expected = tree_sum(0, 32, total, layout.numel, type).to(type);
        EXPECT_TRUE(reducer->gradients().equal(expected))
            << "total " << total << ", here [" << share.first << ", " << share.first + share.count
            << ")";
      }
      c.barrier();
    }
  }
}

}  // namespace wattle::contract
