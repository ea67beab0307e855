#pragma once

#include <memory>

#include "parallel/reducers/gradient_reducer.h"

namespace wattle {

/// Sums over any communicator, bucket by bucket, in finish(); one rank moves nothing.
std::unique_ptr<GradientReducer> make_communicator_reducer(Communicator& communicator,
                                                           const FlatLayout& layout,
                                                           at::ScalarType type,
                                                           const ReducerOptions& options);

}  // namespace wattle
