#pragma once

#include <string>

#include "scheduler/core/engine/state.h"
#include "scheduler/daemon/daemon.h"
#include "scheduler/rpc/wattle.pb.h"

namespace wattle::scheduler {

/// A job as the queue shows it, without its user (who stands in the store).
v1::JobSummary summary_of(const State& state, const Job& job);
v1::JobState to_message(JobState state);

v1::NodeSummary summary_of(const State& state, const Node& node);

/// Adds a sum to the report's last row if that has its key, else as a row of its own.
void add_sum(const EnergySum& sum, v1::ReportResponse& report);

}  // namespace wattle::scheduler
