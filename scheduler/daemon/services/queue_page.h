#pragma once

#include "scheduler/core/engine/state.h"
#include "scheduler/daemon/services/calls/caller.h"
#include "scheduler/rpc/wattle.pb.h"

namespace wattle::scheduler {

/// The jobs of a request that the caller may see, in the order of their numbers, without their
/// users. A page holds the core while it is made: whoever asks for jobs that have not ended makes
/// it walk over no others, and of all jobs it looks at 20,000 at most. So it may have fewer than
/// asked for, or none, and yet name a next one.
v1::QueueResponse queue_page(const Caller& caller, const State& state,
                             const v1::QueueRequest& request);

}  // namespace wattle::scheduler
