#include "parallel/communicators/threads/thread_communicator.h"

#include <ATen/ops/zeros.h>

#include "common/error.h"
#include "tests/parallel/communicator_contract.h"

namespace wattle {
namespace {

class ThreadCommunicatorTest : public testing::TestWithParam<int> {
 protected:
  void with_ranks(const std::function<void(Communicator&)>& body) {
    run_as_threads(GetParam(), body);
  }
};
INSTANTIATE_TEST_SUITE_P(Ranks, ThreadCommunicatorTest, testing::Values(1, 2, 3, 4));

TEST_P(ThreadCommunicatorTest, AllReduces) { with_ranks(contract::all_reduces); }
TEST_P(ThreadCommunicatorTest, SumsSixteenBitFloatsInFloat32) {
  with_ranks(contract::sums_sixteen_bit_floats_in_float32);
}
TEST_P(ThreadCommunicatorTest, AllGathers) { with_ranks(contract::all_gathers); }
TEST_P(ThreadCommunicatorTest, ReduceScatters) { with_ranks(contract::reduce_scatters); }
TEST_P(ThreadCommunicatorTest, Broadcasts) { with_ranks(contract::broadcasts); }
TEST_P(ThreadCommunicatorTest, SendsAroundARing) { with_ranks(contract::sends_around_a_ring); }
TEST_P(ThreadCommunicatorTest, Splits) { with_ranks(contract::splits); }
TEST_P(ThreadCommunicatorTest, SharesMemory) { with_ranks(contract::shares_memory); }
TEST_P(ThreadCommunicatorTest, RefusesWhatDoesNotFit) {
  with_ranks(contract::refuses_what_does_not_fit);
}

/// What run_as_threads throws for `body` on two ranks.
std::string error_of(const std::function<void(Communicator&)>& body) {
  try {
    run_as_threads(2, body);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(ThreadCommunicator, NamesBothRanksWhenSizesDiffer) {
  EXPECT_THAT(error_of([](Communicator& c) {
                at::Tensor tensor = at::zeros({3 + c.rank()});
                c.all_reduce(tensor, ReduceOp::kSum);
              }),
              testing::AllOf(testing::HasSubstr("all_reduce of 3 Float"),
                             testing::HasSubstr("all_reduce of 4 Float")));
}

TEST(ThreadCommunicator, NamesBothOperationsWhenTheyDiffer) {
  EXPECT_THAT(error_of([](Communicator& c) {
                at::Tensor tensor = at::zeros({3});
                c.rank() == 0 ? c.broadcast(tensor, 0) : c.barrier();
              }),
              testing::AllOf(testing::HasSubstr("broadcast"), testing::HasSubstr("barrier")));
}

TEST(ThreadCommunicator, WaitingForARankThatHasLeftIsAnError) {
  EXPECT_THAT(error_of([](Communicator& c) {
                if (c.rank() == 0) c.barrier();
              }),
              testing::HasSubstr("rank 0 waits for rank 1, which has left"));
}

TEST(ThreadCommunicator, TheFirstErrorIsTheOneThatIsThrown) {
  EXPECT_EQ(error_of([](Communicator& c) {
              if (c.rank() == 1) throw Error(ErrorCode::kInternal, "the cause");
              c.barrier();
            }),
            "the cause");
}

}  // namespace
}  // namespace wattle
