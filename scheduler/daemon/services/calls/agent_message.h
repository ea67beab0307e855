#pragma once

#include "scheduler/rpc/agent.pb.h"

namespace wattle::scheduler {

/// Throws Refusal(kInvalid), with the field, on what no agent of ours says: a number that is not
/// finite or is below 0, a source of joules that does not exist, a text longer than wattle.proto
/// allows.
void require_sound(const v1::AgentMessage& message);

}  // namespace wattle::scheduler
