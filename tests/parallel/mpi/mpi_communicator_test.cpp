#include "parallel/communicators/mpi/mpi_communicator.h"

#include "tests/parallel/communicator_contract.h"

namespace wattle {
namespace {

/// Calls `body` with the whole job, once with one call of MPI each and once in pieces of 5 elements
/// (as MPI's int counts make necessary for large tensors).
void for_each_way(const std::function<void(Communicator&)>& body) {
  for (int64_t largest_count : {int64_t{1} << 30, int64_t{5}}) {
    SCOPED_TRACE("largest count " + std::to_string(largest_count));
    auto world = make_mpi_world(largest_count);
    body(*world);
  }
}

TEST(MpiCommunicator, AllReduces) { for_each_way(contract::all_reduces); }
TEST(MpiCommunicator, SumsSixteenBitFloatsInFloat32) {
  for_each_way(contract::sums_sixteen_bit_floats_in_float32);
}
TEST(MpiCommunicator, AllGathers) { for_each_way(contract::all_gathers); }
TEST(MpiCommunicator, ReduceScatters) { for_each_way(contract::reduce_scatters); }
TEST(MpiCommunicator, Broadcasts) { for_each_way(contract::broadcasts); }
TEST(MpiCommunicator, SendsAroundARing) { for_each_way(contract::sends_around_a_ring); }
TEST(MpiCommunicator, Splits) { for_each_way(contract::splits); }
TEST(MpiCommunicator, SharesMemory) { for_each_way(contract::shares_memory); }
TEST(MpiCommunicator, RefusesWhatDoesNotFit) { for_each_way(contract::refuses_what_does_not_fit); }

}  // namespace
}  // namespace wattle
