#pragma once

#include <cstdint>
#include <vector>

#include "parallel/communicator.h"

namespace wattle {

/// A rank's micro-batches of a step, [first, first + count) by global index.
struct MicroBatches {
  int64_t first = 0;
  int64_t count = 0;
};

/// What every rank has, by rank. Collective.
std::vector<MicroBatches> exchange_micro_batches(Communicator& communicator,
                                                 const MicroBatches& mine);

/// Throws Error(kInternal) unless the shares are [0, total) without a gap or an overlap, in any
/// order of the ranks.
void check_micro_batches(const std::vector<MicroBatches>& shares, int64_t total);

}  // namespace wattle
