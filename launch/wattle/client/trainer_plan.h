#pragma once

#include <string>
#include <vector>

#include "scheduler/rpc/wattle.pb.h"

namespace wattle {

/// A file or a folder that the run reads besides its YAML file: where that names it, by which key.
struct PlannedInput {
  std::string place, key, path;
};

struct TrainerPlan {
  v1::WorkEstimate work;
  std::vector<PlannedInput> inputs;
  std::vector<std::string> warnings;
};

/// Asks `wattle-train plan --json` (docs/PLAN.md), as a process, whether a file can run and what is
/// to be expected of it. The program is the one beside this one, else the first in PATH. Data is
/// opened: the working directory matters. May be called from any thread.
///
/// Throws Error(kConfig) with the trainer's errors, one a line, if the file can't run; kIo if the
/// program can't be run or fails.
TrainerPlan plan_work(const std::string& file, const std::vector<std::string>& overrides);

}  // namespace wattle
