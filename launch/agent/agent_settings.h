#pragma once

#include "scheduler/agent/settings.h"
#include "scheduler/config/agent_options.h"

namespace wattle {

/// What agent.yaml says, with everything found on this machine that it leaves open.
/// Throws Error(kConfig) if an account, a program or a folder it names is not there.
agent::Settings agent_settings(const scheduler::AgentOptions& options);

}  // namespace wattle
