#include "parallel/gather_in_order.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "parallel/micro_batches.h"

namespace wattle {

at::Tensor gather_in_order(Communicator& communicator, int64_t first, const at::Tensor& local) {
  const std::vector<MicroBatches> shares =
      exchange_micro_batches(communicator, {first, local.size(0)});
  int64_t most = 0, total = 0;
  for (const MicroBatches& share : shares) {
    most = std::max(most, share.count);
    total += share.count;
  }
  check_micro_batches(shares, total);
  at::Tensor padded = at::zeros({most, local.size(1)}, local.options());
  padded.narrow(0, 0, local.size(0)).copy_(local);
  at::Tensor all = at::empty({communicator.size(), most, local.size(1)}, local.options());
  communicator.all_gather(padded, all);
  at::Tensor ordered = at::empty({total, local.size(1)}, local.options());
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const auto [begin, count] = shares[rank];
    ordered.narrow(0, begin, count).copy_(all[rank].narrow(0, 0, count));
  }
  return ordered;
}

}  // namespace wattle
