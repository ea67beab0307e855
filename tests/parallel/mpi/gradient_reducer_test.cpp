#include "parallel/gradient_reducer.h"

#include "parallel/communicators/mpi_communicator.h"
#include "tests/parallel/reducer_contract.h"

namespace wattle {
namespace {

TEST(MpiGradientReducer, SumsOverAllRanks) {
  auto world = make_mpi_world();
  contract::sums_over_all_ranks(*world);
}

}  // namespace
}  // namespace wattle
