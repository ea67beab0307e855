#pragma once

#include <vector>

#include "scheduler/core/policy/energy/offers.h"

namespace wattle::scheduler {

/// The limits that an assignment's runs get, by job; 0 for those that do not run. The assignment
/// knows a few limits of each type; here the watts are dealt out anew among the runs that it has
/// chosen, at any limit (limits.h), so that nothing is left that a run makes progress with. Runs
/// whose joules are rationed stay at the limit that they were assigned. Where that is nearly as
/// good, runs have the limits that they have now.
std::vector<double> deal_limits(const Snapshot& snapshot, const Problem& problem,
                                const std::vector<Offer>& offers, const Assignment& assignment);

}  // namespace wattle::scheduler
