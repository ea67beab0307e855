#pragma once

#include <string>
#include <vector>

#include "launch/wattle/client/trainer_plan.h"

namespace wattle {

/// A run's relative paths begin at the job's directory on its node, where there is nothing but what
/// was sent with the job. Throws Error(kConfig) with a line for each input that is named by such a
/// path and has no file among `sent`, the places of the files that are. Absolute paths are the
/// daemon's to judge.
void require_sent(const std::vector<PlannedInput>& named, const std::vector<std::string>& sent);

}  // namespace wattle
