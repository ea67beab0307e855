#pragma once

#include <memory>

#include "parallel/reducers/gradient_reducer.h"

namespace wattle {

/// Sums by the fixed tree of micro_batch_tree.h: the same bits on any number of ranks, over shared
/// memory or not.
///
/// Each micro-batch's gradient is written into gradients() as if it were the step's only one, and
/// added to the sums of earlier ones when the next begins: log2(micro-batches of the rank) sums of
/// the gradients' size at most on a power of two that starts aligned, twice that on any range. One
/// micro-batch a rank needs none. Sums of bfloat16 are held in float32 and rounded once. In
/// finish(), each rank evaluates the top of the tree for its share of the elements where memory is
/// shared; otherwise all ranks gather the sums and evaluate it alike. The communicator must carry
/// CPU tensors. begin_step() is collective too. Throws Error(kInternal) if the ranks' micro-batches
/// are not [0, total), each once, or are not the ones that were announced.
std::unique_ptr<GradientReducer> make_deterministic_reducer(Communicator& communicator,
                                                            const FlatLayout& layout,
                                                            at::ScalarType type,
                                                            bool shares_memory);

}  // namespace wattle
