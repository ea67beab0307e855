#pragma once

#include "energy/accounting/energy_monitor.h"
#include "launch/train/run_session.h"

namespace wattle {

/// The time of a step when one rank does the whole global batch.
struct OneRankTime {
  int64_t steps = 0;        ///< timed; 0: not measured
  double step_seconds = 0;  ///< median of them
};

/// Trains a replica of its own for train.efficiency_steps steps on rank 0 alone, with the threads
/// that a rank has, while the others wait; then throws it away. The first two steps are not
/// timed. Nothing is measured on one rank or when no steps are asked for. Collective.
OneRankTime measure_one_rank(const RunSession& session, const Dataset& dataset,
                             EnergyMonitor& energy);

}  // namespace wattle
