#pragma once

#include <string>
#include <vector>

#include "scheduler/agent/power/node_device.h"

namespace wattle::agent {

/// What GPUs draw when idle is measured once: it is never twice the same, and what is drawn at a
/// later start may be a run's. Takes the watts that `path` has for devices (by UUID), adds those of
/// others to the file, and lets devices of one type have the same: the highest.
///
/// Throws Error(kIo) if the file can't be written. What is no such file counts as empty.
void keep_idle_watts(std::vector<NodeDevice>& devices, const std::string& path);

}  // namespace wattle::agent
