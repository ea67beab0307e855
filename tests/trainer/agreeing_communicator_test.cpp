#include "trainer/loop/agreeing_communicator.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include "common/error.h"
#include "parallel/communicators/threads/thread_communicator.h"

namespace wattle {
namespace {

using testing::HasSubstr;

int sum_over(Communicator& ranks) {
  at::Tensor sum = at::full({1}, 1, at::kInt);
  ranks.all_reduce(sum, ReduceOp::kSum);
  return sum.item<int>();
}

/// What together() says on a rank.
std::string error_of(AgreeingCommunicator& ranks, const std::function<void()>& work) {
  try {
    ranks.together(work);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInternal);
    return error.what();
  }
}

/// Rank `failing` fails after `operations` of four; what all ranks then say.
void expect_all_leave(int ranks, int failing, int operations) {
  run_as_threads(ranks, [&](Communicator& world) {
    AgreeingCommunicator all(world);
    int done = 0;
    const std::string said = error_of(all, [&] {
      for (; done < 4; ++done) {
        if (all.rank() == failing && done == operations) throw std::runtime_error("no memory");
        EXPECT_EQ(sum_over(all), ranks);
      }
      if (all.rank() == failing) throw std::runtime_error("no memory");
    });
    EXPECT_EQ(said, ranks == 1 ? "no memory" : "rank " + std::to_string(failing) + ": no memory");
    EXPECT_EQ(done, operations);
    EXPECT_EQ(sum_over(all), ranks) << "they go on together";
  });
}

TEST(AgreeingCommunicator, OneThatFailsKeepsNobodyWaiting) {
  for (const int ranks : {1, 2, 3}) {
    for (const int operations : {0, 2, 4}) expect_all_leave(ranks, ranks - 1, operations);
    expect_all_leave(ranks, 0, 1);
  }
}

TEST(AgreeingCommunicator, TheFirstOfSeveralIsNamed) {
  run_as_threads(3, [](Communicator& world) {
    AgreeingCommunicator all(world);
    const std::string said = error_of(all, [&] {
      sum_over(all);
      if (all.rank() > 0) throw std::runtime_error("of " + std::to_string(all.rank()));
      sum_over(all);
    });
    EXPECT_EQ(said, "rank 1: of 1");
  });
}

TEST(AgreeingCommunicator, WhatSucceedsIsDoneOnce) {
  run_as_threads(2, [](Communicator& world) {
    AgreeingCommunicator all(world);
    int times = 0;
    all.together([&] {
      ++times;
      EXPECT_EQ(sum_over(all), 2);
      all.barrier();
    });
    EXPECT_EQ(times, 1);
  });
}

}  // namespace
}  // namespace wattle
