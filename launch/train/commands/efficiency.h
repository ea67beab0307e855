#pragma once

#include <string>

#include "energy/accounting/energy_monitor.h"
#include "launch/train/resume/resume.h"
#include "launch/train/run_session.h"

namespace wattle {

/// The time of a step when one rank does the whole global batch.
struct OneRankTime {
  int64_t steps = 0;        ///< timed; 0: not measured
  double step_seconds = 0;  ///< median of them
  std::string conditions;   ///< what it depends on besides the run's identity: ranks, threads
};

/// As a section of a checkpoint.
std::string to_section(const OneRankTime& time);

/// Trains a replica of its own for train.efficiency_steps steps on rank 0 alone, with the threads
/// that a rank has, while the others wait; then throws it away. The first two steps are not
/// timed. A run that goes on under the same conditions takes what its checkpoint says instead.
/// Nothing is measured on one rank or when no steps are asked for. Collective.
OneRankTime one_rank_time(const RunSession& session, const ResumePoint& resume,
                          const std::string& threads, const Dataset& dataset,
                          EnergyMonitor& energy);

}  // namespace wattle
