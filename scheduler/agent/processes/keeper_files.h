#pragma once

#include <string>

#include "scheduler/agent/processes/keeper.h"

/// The keeper's own side of the files in its folder; the agent's side is in keeper.h.
namespace wattle::agent {

/// Throws Error(kIo) or Error(kFormat) if there is no order that can be read.
KeeperOrder read_order(const std::string& folder);

/// The file that a keeper holds locked (flock) as long as it lives, and whether one does.
std::string keeper_lock(const std::string& folder);
bool is_keeper_lock_held(const std::string& folder);

void write_process(const std::string& path, const ProcessId& process);
void write_ending(const std::string& folder, const Ending& ending);

}  // namespace wattle::agent
