#pragma once

#include <map>
#include <memory>
#include <vector>

#include "scheduler/core/journal/event.h"
#include "scheduler/core/policy/policy.h"

namespace wattle::scheduler {

/// What a plan is made from: a copy, so that the core can go on meanwhile.
struct PlanRequest {
  Snapshot snapshot;
  std::vector<Token> tokens;         ///< of each of its jobs; 0 = it waits
  std::map<int, int> apart;          ///< types of runs that stay: what they are to the core
  std::vector<PlannedJob> left_out;  ///< jobs that take no part, and why
  double cap_watts = 0;
  double soft_cap_watts = 0;
  int64_t seen_events = 0;
  std::shared_ptr<const Policy> policy;
};

/// The plan as an event for the core it was asked of. Equal requests give equal plans; may run on
/// any thread, beside everything else.
Planned make_plan(const PlanRequest& request);

/// What of a plan is to be applied one after the other, see Planned.
std::vector<Planned> parts_of(Planned plan);

}  // namespace wattle::scheduler
