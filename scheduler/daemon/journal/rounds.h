#pragma once

#include "scheduler/daemon/journal/journalled_core.h"

namespace wattle::scheduler {

/// Lets time pass for the core and makes the plan that is due, if one is, without holding the core
/// meanwhile. Says for how many seconds to rest before the next round: as long as planning took,
/// so that it takes at most half of one processor.
double run_round(JournalledCore& core);

}  // namespace wattle::scheduler
