#pragma once

#include "scheduler/agent/processes/keeper.h"

namespace wattle::agent {

/// Starts an order's command as a child of this process, in a process group of its own: as its
/// account, in its folder, with its limits and processors; `log_fd` takes what it prints. Returns
/// when the command itself runs. Throws Error(kIo), naming what failed, if it can't be started.
int start_command(const KeeperOrder& order, int log_fd);

}  // namespace wattle::agent
