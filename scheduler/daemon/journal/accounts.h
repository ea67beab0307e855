#pragma once

#include <vector>

#include "scheduler/core/journal/decision.h"
#include "scheduler/store/energy_accounts.h"

namespace wattle::scheduler {

/// What decisions made at that moment change in the accounts of joules. It becomes durable with
/// them, after what agents have reported in the same event.
std::vector<EnergyTotal> accounts_of(const std::vector<Decision>& decisions, double now_seconds);

}  // namespace wattle::scheduler
