#pragma once

#include <memory>

#include "parallel/reducers/gradient_reducer.h"

namespace wattle {

/// Sums in place, in memory that all ranks see: each rank's gradients lie in a shared buffer, and
/// once a bucket is ready on all ranks, each rank sums its share of the bucket over all buffers and
/// writes the sum into all of them. With R ranks and B bytes of gradients, a rank so reads B and
/// writes B, whatever R is. The share is summed within mark_ready() where the others are ready by
/// then, the rest in finish(). Null where the ranks do not share memory. Collective.
std::unique_ptr<GradientReducer> make_shared_memory_reducer(Communicator& communicator,
                                                            const FlatLayout& layout,
                                                            at::ScalarType type,
                                                            const ReducerOptions& options);

}  // namespace wattle
