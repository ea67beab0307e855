#include "scheduler/daemon/services/views.h"

#include <fmt/format.h>

#include <set>

namespace wattle::scheduler {
namespace {

void add_run(const State& state, const Run& run, v1::JobSummary& summary) {
  summary.set_ranks(run.point.ranks);
  summary.set_device_type(state.types[static_cast<size_t>(run.point.type)].name);
  summary.set_limit_watts(run.issued_watts);
  summary.set_start_time(run.started_seconds);
  double watts = 0;
  for (const NodeShare& share : run.shares) {
    if (share.gone) continue;
    summary.add_nodes(state.nodes[static_cast<size_t>(share.node)].name);
    watts += share.watts;
  }
  summary.set_watts(watts);
}

void add_past_run(const State& state, const PastRun& run, v1::JobSummary& summary) {
  summary.set_ranks(run.ranks);
  summary.set_device_type(state.types[static_cast<size_t>(run.type)].name);
  summary.set_start_time(run.started_seconds);
  summary.set_run_end_time(run.ended_seconds);
  for (const NodeId node : run.nodes) {
    summary.add_nodes(state.nodes[static_cast<size_t>(node)].name);
  }
}

/// By a meter of this machine; a replayed trace is none.
bool is_measured(const std::string& source) {
  return source.starts_with("measured:") || source.starts_with("integrated:");
}

}  // namespace

v1::JobState to_message(JobState state) {
  switch (state) {
    case JobState::kPending:
      return v1::JOB_STATE_PENDING;
    case JobState::kRunning:
      return v1::JOB_STATE_RUNNING;
    case JobState::kCompleted:
      return v1::JOB_STATE_COMPLETED;
    case JobState::kFailed:
      return v1::JOB_STATE_FAILED;
    case JobState::kCancelled:
      return v1::JOB_STATE_CANCELLED;
    case JobState::kPreempted:
      return v1::JOB_STATE_PREEMPTED;
    case JobState::kTimeout:
      return v1::JOB_STATE_TIMEOUT;
    case JobState::kNodeFail:
      return v1::JOB_STATE_NODE_FAIL;
  }
  return v1::JOB_STATE_UNSPECIFIED;
}

v1::JobSummary summary_of(const State& state, const Job& job) {
  v1::JobSummary summary;
  summary.set_job(job.id);
  summary.set_name(job.request.name);
  summary.set_tenant(job.request.tenant);
  summary.set_state(to_message(job.state));
  if (job.reason != Reason::kNone) summary.set_reason(to_string(job.reason));
  summary.set_priority(job.request.priority);
  summary.set_min_ranks(job.request.min_ranks);
  summary.set_max_ranks(job.request.max_ranks);
  if (job.run) {
    add_run(state, *job.run, summary);
  } else if (job.last_run) {
    add_past_run(state, *job.last_run, summary);
  }
  summary.set_joules(state.joules.job_spent(job.id));
  summary.set_units_done(job.units_done);
  summary.set_units(job.request.work.units);
  summary.set_submit_time(job.submitted_seconds);
  if (is_finished(job.state)) summary.set_end_time(job.ended_seconds);
  summary.set_exit_code(job.exit_code);
  const bool is_failed = is_finished(job.state) && job.state != JobState::kCompleted;
  if (is_failed) summary.set_why(job.explanation);
  return summary;
}

v1::NodeSummary summary_of(const State& state, const Node& node) {
  v1::NodeSummary summary;
  summary.set_name(node.name);
  summary.set_state(node.state == NodeState::kUp     ? v1::NODE_STATE_UP
                    : node.state == NodeState::kLost ? v1::NODE_STATE_LOST
                                                     : v1::NODE_STATE_DOWN);
  summary.set_drained(node.drained);
  summary.set_drain_reason(node.drain_reason);
  for (const DeviceGroup& group : node.groups) {
    v1::DeviceGroup& message = *summary.add_devices();
    message.set_type(group.type.name);
    message.set_count(group.count);
    message.set_idle_watts(group.type.idle_watts);
    message.set_min_limit_watts(group.type.min_limit_watts);
    message.set_max_limit_watts(group.type.max_limit_watts);
    message.set_safe_watts(group.safe_watts);
  }
  std::set<JobId> jobs;
  int in_use = 0;
  double limits = 0;
  for (DeviceId device : node.devices) {
    const JobId job = state.devices[static_cast<size_t>(device)].job;
    in_use += job != 0;
    if (job > 0) jobs.insert(job);
    limits += state.ledger.possible_watts(device);
  }
  summary.set_devices_in_use(in_use);
  summary.set_limit_watts(limits);
  for (JobId job : jobs) summary.add_jobs(job);
  return summary;
}

void add_sum(const EnergySum& sum, v1::ReportResponse& report) {
  const int rows = report.rows_size();
  v1::ReportRow& row = rows > 0 && report.rows(rows - 1).key() == sum.key
                           ? *report.mutable_rows(rows - 1)
                           : *report.add_rows();
  row.set_key(sum.key);
  row.set_jobs(sum.jobs);
  row.set_tokens(row.tokens() + sum.tokens);
  v1::SourceJoules& part = *row.add_energy();
  part.set_source(sum.source);
  part.set_joules(sum.joules);
  if (is_measured(sum.source)) {
    row.set_measured_joules(row.measured_joules() + sum.joules);
  } else {
    row.set_estimated_joules(row.estimated_joules() + sum.joules);
  }
}

}  // namespace wattle::scheduler
