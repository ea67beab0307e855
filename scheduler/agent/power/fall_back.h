#pragma once

#include <optional>
#include <string>

#include "scheduler/agent/processes/keeper.h"

namespace wattle::agent {

/// Tells a trainer, by its control file, to keep its whole run below `cap_watts`. The file is
/// written as `account`, aside and renamed; its folder is made if need be. Throws Error(kIo).
void write_cap(const std::string& control_file, double cap_watts,
               const std::optional<Account>& account);

/// Sets a GPU's power limit. Throws Error(kUnsupported) or Error(kIo) if that is not possible.
void set_gpu_limit(const std::string& uuid, double watts);

/// Lowers a run to what its fallback says, but for freezing, which is the keeper's own. Tries
/// everything; returns what failed, "" if nothing did.
std::string fall_back(const Fallback& fallback, const std::optional<Account>& account);

}  // namespace wattle::agent
