#include "parallel/reducers/gradient_reducer.h"

#include <functional>

#include "parallel/communicators/mpi/mpi_communicator.h"
#include "tests/parallel/reducer_contract.h"

namespace wattle {
namespace {

/// Calls `body` with all ranks, and with the even and the odd ones as groups of their own.
void with_groups(const std::function<void(Communicator&)>& body) {
  auto world = make_mpi_world();
  body(*world);
  auto half = world->split(world->rank() % 2, world->rank());
  body(*half);
}

TEST(MpiGradientReducer, SumsOverAllRanks) { with_groups(contract::sums_over_all_ranks); }
TEST(MpiGradientReducer, SumsBfloat16InFloat32) { with_groups(contract::sums_bfloat16_in_float32); }
TEST(MpiGradientReducer, ARankWithoutMicroBatchesAddsNothing) {
  with_groups(contract::a_rank_without_micro_batches_adds_nothing);
}
TEST(MpiGradientReducer, DeterministicSumsAreTheSameOnAnyNumberOfRanks) {
  with_groups([](Communicator& c) { contract::sums_are_the_same_on_any_number_of_ranks(c, 10); });
}

}  // namespace
}  // namespace wattle
