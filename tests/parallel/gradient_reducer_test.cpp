#include "parallel/reducers/gradient_reducer.h"

#include "parallel/communicators/threads/thread_communicator.h"
#include "tests/parallel/reducer_contract.h"

namespace wattle {
namespace {

class GradientReducerTest : public testing::TestWithParam<int> {
 protected:
  void with_ranks(const std::function<void(Communicator&)>& body) {
    run_as_threads(GetParam(), body);
  }
};
INSTANTIATE_TEST_SUITE_P(Ranks, GradientReducerTest, testing::Values(1, 2, 3, 4));

TEST_P(GradientReducerTest, SumsOverAllRanks) { with_ranks(contract::sums_over_all_ranks); }
TEST_P(GradientReducerTest, SumsBfloat16InFloat32) {
  with_ranks(contract::sums_bfloat16_in_float32);
}
TEST_P(GradientReducerTest, ARankWithoutMicroBatchesAddsNothing) {
  with_ranks(contract::a_rank_without_micro_batches_adds_nothing);
}
TEST_P(GradientReducerTest, DeterministicSumsAreTheSameOnAnyNumberOfRanks) {
  with_ranks([](Communicator& c) { contract::sums_are_the_same_on_any_number_of_ranks(c, 40); });
}

/// What making a reducer, and a step of it, throws on two ranks.
std::string error_of(const std::function<void(Communicator&)>& body) {
  try {
    run_as_threads(2, body);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(GradientReducer, RefusesRanksWithDifferentLayouts) {
  EXPECT_THAT(error_of([](Communicator& c) {
                const FlatLayout layout = FlatLayout::of({{"weight", 100 + 20 * c.rank()}});
                make_gradient_reducer(c, layout, at::kFloat, {});
              }),
              testing::HasSubstr("the ranks' layouts, types or options differ"));
}

TEST(GradientReducer, RefusesTypesThatItCannotSum) {
  EXPECT_THAT(error_of([](Communicator& c) {
                make_gradient_reducer(c, contract::some_layout(), at::kHalf, {});
              }),
              testing::HasSubstr("got Half"));
}

TEST(GradientReducer, RefusesASpanThatIsReadyTwice) {
  EXPECT_THAT(error_of([](Communicator& c) {
                auto reducer = make_gradient_reducer(c, contract::some_layout(), at::kFloat, {});
                reducer->begin_step(c.rank(), 1, 2);
                reducer->mark_ready(3);
                reducer->mark_ready(3);
              }),
              testing::HasSubstr("span 3 of 20"));
}

TEST(GradientReducer, RefusesMicroBatchesWithAGap) {
  EXPECT_THAT(error_of([](Communicator& c) {
                auto reducer = make_gradient_reducer(c, contract::some_layout(), at::kFloat,
                                                     {.deterministic = true});
                reducer->begin_step(3 * c.rank(), 2, 5);
              }),
              testing::HasSubstr("make up [0, 5), got [0, 2) [3, 5)"));
}

TEST(GradientReducer, RefusesToFinishBeforeAllMicroBatchesAreDone) {
  EXPECT_THAT(error_of([](Communicator& c) {
                auto reducer = make_gradient_reducer(c, contract::some_layout(), at::kFloat,
                                                     {.deterministic = true});
                reducer->begin_step(2 * c.rank(), 2, 4);
                reducer->begin_micro_batch();
                reducer->end_micro_batch();
                reducer->finish();
              }),
              testing::HasSubstr("1 micro-batches done of 2"));
}

TEST(GradientReducer, AWaitForARankThatHasLeftEnds) {
  for (bool deterministic : {false, true}) {
    std::string seen_by_0;
    error_of([&](Communicator& c) {
      auto reducer = make_gradient_reducer(c, contract::some_layout(), at::kFloat,
                                           {.deterministic = deterministic});
      reducer->begin_step(c.rank(), 1, 2);
      if (c.rank() == 1) return;
      reducer->begin_micro_batch();
      reducer->end_micro_batch();
      seen_by_0 = contract::refusal([&] { reducer->finish(); });
    });
    EXPECT_THAT(seen_by_0, testing::HasSubstr("waits for rank 1, which has left"));
  }
}

TEST(GradientReducer, GradientsOutliveTheReducer) {
  run_as_threads(2, [](Communicator& c) {
    at::Tensor gradients;
    {
      auto reducer = make_gradient_reducer(c, contract::some_layout(), at::kFloat, {});
      gradients = reducer->gradients();
    }
    gradients.fill_(1);
    c.barrier();
  });
}

}  // namespace
}  // namespace wattle
