#pragma once

// What every communicator promises, as tests that any backend runs on each of its ranks.

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "tests/parallel/refusal.h"

namespace wattle::contract {

/// [n] of rank r: r * 100, r * 100 + 1, ...
inline at::Tensor numbered(int rank, int64_t n, at::ScalarType type) {
  return at::arange(rank * 100, rank * 100 + n, type);
}

inline void all_reduces(Communicator& c) {
  const int n = 13, ranks = c.size();
  for (at::ScalarType type : {at::kFloat, at::kDouble, at::kInt, at::kLong}) {
    at::Tensor sum = numbered(c.rank(), n, type);
    c.all_reduce(sum, ReduceOp::kSum);
    EXPECT_TRUE(sum.equal(numbered(0, n, type).mul(ranks).add(100 * ranks * (ranks - 1) / 2)));
    at::Tensor most = numbered(c.rank(), n, type);
    c.all_reduce(most, ReduceOp::kMax);
    EXPECT_TRUE(most.equal(numbered(ranks - 1, n, type)));
    at::Tensor least = numbered(c.rank(), n, type);
    c.all_reduce(least, ReduceOp::kMin);
    EXPECT_TRUE(least.equal(numbered(0, n, type)));
  }
}

inline void sums_sixteen_bit_floats_in_float32(Communicator& c) {
  // In bfloat16, 256 + 1 is 256: only a float32 sum sees the ones of the ranks above 0.
  at::Tensor sum = at::full({11}, c.rank() == 0 ? 256.0 : 1.0, at::kBFloat16);
  c.all_reduce(sum, ReduceOp::kSum);
  const at::Tensor expected = at::full({11}, 255.0 + c.size(), at::kFloat).to(at::kBFloat16);
  EXPECT_TRUE(sum.equal(expected)) << sum[0].item<float>();
  const at::Tensor input = at::full({11 * c.size()}, c.rank() == 0 ? 256.0 : 1.0, at::kBFloat16);
  at::Tensor output = at::empty({11}, at::kBFloat16);
  c.reduce_scatter(input, output);
  EXPECT_TRUE(output.equal(expected)) << output[0].item<float>();
}

inline void all_gathers(Communicator& c) {
  for (at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16, at::kByte}) {
    const at::Tensor input = at::arange(c.rank() * 7, c.rank() * 7 + 7, type);
    at::Tensor output = at::empty({7 * c.size()}, type);
    c.all_gather(input, output);
    EXPECT_TRUE(output.equal(at::arange(0, 7 * c.size(), type)));
  }
}

inline void reduce_scatters(Communicator& c) {
  const int n = 7, ranks = c.size();
  const at::Tensor input = at::arange(0, n * ranks, at::kFloat).mul(c.rank() + 1);
  at::Tensor output = at::empty({n}, at::kFloat);
  c.reduce_scatter(input, output);
  const at::Tensor mine = at::arange(n * c.rank(), n * (c.rank() + 1), at::kFloat);
  EXPECT_TRUE(output.equal(mine.mul(ranks * (ranks + 1) / 2)));
}

inline void broadcasts(Communicator& c) {
  for (int root = 0; root < c.size(); ++root) {
    at::Tensor tensor = numbered(c.rank(), 9, at::kLong);
    c.broadcast(tensor, root);
    EXPECT_TRUE(tensor.equal(numbered(root, 9, at::kLong)));
  }
}

inline void sends_around_a_ring(Communicator& c) {
  if (c.size() == 1) return;
  const int next = (c.rank() + 1) % c.size(), previous = (c.rank() + c.size() - 1) % c.size();
  const at::Tensor mine = numbered(c.rank(), 9, at::kLong);
  at::Tensor theirs = at::empty_like(mine);
  if (c.rank() % 2 == 0) c.send(mine, next);
  c.recv(theirs, previous);
  if (c.rank() % 2 == 1) c.send(mine, next);
  EXPECT_TRUE(theirs.equal(numbered(previous, 9, at::kLong)));
}

inline void splits(Communicator& c) {
  // Even and odd ranks, each group in reverse order.
  auto group = c.split(c.rank() % 2, -c.rank());
  std::vector<int64_t> members;
  for (int rank = c.size() - 1; rank >= 0; --rank) {
    if (rank % 2 == c.rank() % 2) members.push_back(rank);
  }
  ASSERT_EQ(group->size(), static_cast<int>(members.size()));
  EXPECT_EQ(members[group->rank()], c.rank());
  at::Tensor output = at::empty({group->size()}, at::kLong);
  group->all_gather(at::full({1}, c.rank(), at::kLong), output);
  for (size_t i = 0; i < members.size(); ++i) EXPECT_EQ(output[i].item<int64_t>(), members[i]);
  c.barrier();
}

inline void shares_memory(Communicator& c) {
  auto memory = c.share(5000);
  ASSERT_NE(memory, nullptr) << "the ranks of a test share a host";
  const auto mine = memory->part(c.rank());
  ASSERT_GE(mine.size(), 5000u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(mine.data()) % 4096, 0u);
  EXPECT_EQ(std::to_integer<int>(mine[4999]), 0);
  std::memset(mine.data(), c.rank() + 1, mine.size());
  c.barrier();
  for (int rank = 0; rank < c.size(); ++rank) {
    EXPECT_EQ(std::to_integer<int>(memory->part(rank)[0]), rank + 1);
    EXPECT_EQ(std::to_integer<int>(memory->part(rank)[4999]), rank + 1);
  }
  memory->check_peers();
  c.barrier();
}

inline void refuses_what_does_not_fit(Communicator& c) {
  using testing::HasSubstr;
  at::Tensor small = at::empty({3}), large = at::empty({3 * c.size() + 1});
  EXPECT_THAT(refusal([&] { c.all_gather(small, large); }), HasSubstr("elements, got"));
  EXPECT_THAT(refusal([&] { c.reduce_scatter(large, small); }), HasSubstr("elements, got"));
  EXPECT_THAT(refusal([&] { c.broadcast(small, c.size()); }), HasSubstr("expected a rank below"));
  at::Tensor strided = at::empty({4, 4}).t();
  EXPECT_THAT(refusal([&] { c.all_reduce(strided, ReduceOp::kSum); }), HasSubstr("contiguous"));
  c.barrier();
}

}  // namespace wattle::contract
