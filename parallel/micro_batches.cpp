#include "parallel/micro_batches.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <string>

#include "common/error.h"

namespace wattle {

std::vector<MicroBatches> exchange_micro_batches(Communicator& communicator,
                                                 const MicroBatches& mine) {
  at::Tensor input = at::empty({2}, at::kLong);
  input.data_ptr<int64_t>()[0] = mine.first;
  input.data_ptr<int64_t>()[1] = mine.count;
  at::Tensor output = at::empty({communicator.size(), 2}, at::kLong);
  communicator.all_gather(input, output);
  const int64_t* row = output.data_ptr<int64_t>();
  std::vector<MicroBatches> shares;
  for (int rank = 0; rank < communicator.size(); ++rank, row += 2)
    shares.push_back({row[0], row[1]});
  return shares;
}

void check_micro_batches(const std::vector<MicroBatches>& shares, int64_t total) {
  std::vector<MicroBatches> in_order;
  std::string text;
  for (const MicroBatches& share : shares) {
    text +=
        " [" + std::to_string(share.first) + ", " + std::to_string(share.first + share.count) + ")";
    if (share.count != 0) in_order.push_back(share);
  }
  std::sort(in_order.begin(), in_order.end(),
            [](const MicroBatches& a, const MicroBatches& b) { return a.first < b.first; });
  int64_t next = 0;
  bool tile = true;
  for (const MicroBatches& share : in_order) {
    tile = tile && share.count > 0 && share.first == next;
    next = share.first + share.count;
  }
  if (!tile || next != total) {
    throw Error(ErrorCode::kInternal, "micro-batches: expected the ranks' shares to make up [0, " +
                                          std::to_string(total) + "), got" + text);
  }
}

}  // namespace wattle
