#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "parallel/communicator.h"

namespace wattle {

/// Small figures of micro-batches (losses, batch-norm statistics), put into global order.
///
/// `local` [count, k] are the rows of this rank's micro-batches [first, first + count), possibly
/// none; k and the type are the same on all ranks. Returns [total, k] on every rank, row i of
/// micro-batch i, the same bits whatever the number of ranks. Collective. Throws Error(kInternal)
/// unless the ranks' micro-batches are 0, 1, 2, ..., each once.
at::Tensor gather_in_order(Communicator& communicator, int64_t first, const at::Tensor& local);

}  // namespace wattle
