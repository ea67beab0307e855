#pragma once

#include <string>
#include <vector>

#include "scheduler/core/engine/state.h"
#include "scheduler/daemon/daemon.h"
#include "scheduler/rpc/wattle.pb.h"

namespace wattle::scheduler {

/// A job as the queue shows it, without its user (who stands in the store).
v1::JobSummary summary_of(const State& state, const Job& job);
v1::JobState to_message(JobState state);

v1::NodeSummary summary_of(const State& state, const Node& node);

/// Joules and tokens by tenant, job or day. `names`: of jobs.
v1::ReportResponse report_of(const std::vector<EnergyRow>& rows, v1::ReportRequest::By by,
                             const std::map<int64_t, std::string>& names);

}  // namespace wattle::scheduler
