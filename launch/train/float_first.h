#pragma once

#include <functional>

#include "launch/train/run_session.h"

namespace wattle {

/// A run with a `float_run:` section: what can be known to be wrong with it is checked, the float
/// run is trained to its end (or goes on to it, or was there already), then the run itself, with
/// what of energy.budget_joules the float run has left. `train` trains a configuration and returns
/// its exit code; a float run that does not end with kExitDone ends the whole. Collective.
int train_after_float_run(const RunSession& session,
                          const std::function<int(const RunSession& part)>& train);

}  // namespace wattle
