#pragma once

#include <string>
#include <vector>

#include "scheduler/rpc/wattle.pb.h"

namespace wattle {

/// Asks `wattle-train plan --json` (docs/PLAN.md), as a process, whether a file can run and what is
/// to be expected of it. The program is the one beside this one, else the first in PATH; its
/// warnings are shown on standard error. Data is opened: the working directory matters.
///
/// Throws Error(kConfig) with the trainer's errors, one a line, if the file can't run; kIo if the
/// program can't be run or fails.
v1::WorkEstimate plan_work(const std::string& file, const std::vector<std::string>& overrides);

}  // namespace wattle
