#include "parallel/gather_in_order.h"

#include <ATen/ops/arange.h>
#include <gmock/gmock.h>

#include "common/error.h"
#include "parallel/communicators/threads/thread_communicator.h"

namespace wattle {
namespace {

/// The rows of micro-batches [first, first + count), each two numbers that tell its index.
at::Tensor rows(int64_t first, int64_t count) {
  return at::arange(2 * first, 2 * (first + count), at::kDouble).view({count, 2});
}

TEST(GatherInOrder, PutsUnevenSharesIntoGlobalOrder) {
  run_as_threads(4, [](Communicator& c) {
    const int64_t first[] = {5, 0, 3, 3}, count[] = {4, 3, 0, 2};
    const at::Tensor all =
        gather_in_order(c, first[c.rank()], rows(first[c.rank()], count[c.rank()]));
    EXPECT_TRUE(all.equal(rows(0, 9)));
  });
}

TEST(GatherInOrder, OneRankKeepsItsRows) {
  run_as_threads(
      1, [](Communicator& c) { EXPECT_TRUE(gather_in_order(c, 0, rows(0, 3)).equal(rows(0, 3))); });
}

TEST(GatherInOrder, RefusesSharesThatOverlap) {
  EXPECT_THROW(run_as_threads(2, [](Communicator& c) { gather_in_order(c, c.rank(), rows(0, 2)); }),
               Error);
}

}  // namespace
}  // namespace wattle
