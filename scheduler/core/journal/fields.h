#pragma once

#include <type_traits>

#include "scheduler/core/engine/state.h"

// The fields of the plain values that know nothing of the journal, by the names that they have
// there. Classes with something to hide, events and decisions have a static visit() of their own.

namespace wattle::scheduler::fields {

template <class Self, class Plain>
concept Is = std::is_same_v<std::remove_const_t<Self>, Plain>;

template <class Self, class V>
void visit(Self& s, V&& v) requires requires {
  std::remove_const_t<Self>::visit(s, v);
}
{ std::remove_const_t<Self>::visit(s, v); }

// common/job_spec.h
template <class V>
void visit(Is<RankRange> auto& s, V&& v) {
  v("min", s.min), v("max", s.max);
}
template <class V>
void visit(Is<SweepAxis> auto& s, V&& v) {
  v("key", s.key), v("values", s.values);
}
template <class V>
void visit(Is<Sweep> auto& s, V&& v) {
  v("grid", s.grid), v("list", s.list);
}
template <class V>
void visit(Is<JobSpec> auto& s, V&& v) {
  v("tenant", s.tenant), v("priority", s.priority), v("ranks", s.ranks), v("deadline", s.deadline);
  v("energy_budget_joules", s.energy_budget_joules), v("sweep", s.sweep), v("after", s.after);
}

// domain/
template <class V>
void visit(Is<DeviceType> auto& s, V&& v) {
  v("name", s.name), v("idle_watts", s.idle_watts), v("min_limit_watts", s.min_limit_watts);
  v("max_limit_watts", s.max_limit_watts);
}
template <class V>
void visit(Is<OperatingPoint> auto& s, V&& v) {
  v("type", s.type), v("ranks", s.ranks), v("limit_watts", s.limit_watts);
}
template <class V>
void visit(Is<DeviceGroup> auto& s, V&& v) {
  v("type", s.type), v("count", s.count), v("safe_watts", s.safe_watts);
}
template <class V>
void visit(Is<Device> auto& s, V&& v) {
  v("node", s.node), v("type", s.type), v("job", s.job);
}
template <class V>
void visit(Is<Node> auto& s, V&& v) {
  v("id", s.id), v("name", s.name), v("state", s.state), v("epoch", s.epoch);
  v("drained", s.drained), v("drain_reason", s.drain_reason);
  v("start_failures", s.start_failures), v("shares_jobs_dir", s.shares_jobs_dir),
      v("removed", s.removed);
  v("fell_safe", s.fell_safe);
  v("lost_seconds", s.lost_seconds), v("lease_seconds", s.lease_seconds);
  v("orphan_grace_seconds", s.orphan_grace_seconds), v("groups", s.groups);
  v("idle_watts", s.idle_watts), v("safe_watts", s.safe_watts), v("devices", s.devices);
  v("foreign_runs", s.foreign_runs);
  v("work_dir_id", s.work_dir_id), v("boot_id", s.boot_id);
}
template <class V>
void visit(Is<WorkEstimate> auto& s, V&& v) {
  v("units", s.units), v("kind", s.kind), v("rank_counts", s.rank_counts);
  v("units_per_second", s.units_per_second);
}
template <class V>
void visit(Is<JobRequest> auto& s, V&& v) {
  v("name", s.name), v("tenant", s.tenant), v("priority", s.priority), v("min_ranks", s.min_ranks);
  v("max_ranks", s.max_ranks), v("deadline_seconds", s.deadline_seconds);
  v("energy_budget_joules", s.energy_budget_joules), v("after", s.after);
  v("overrides", s.overrides), v("work", s.work), v("user", s.user);
  v("most_priority", s.most_priority);
}
template <class V>
void visit(Is<NodeShare> auto& s, V&& v) {
  v("node", s.node), v("devices", s.devices), v("watts", s.watts);
  v("reported_seconds", s.reported_seconds), v("gone", s.gone);
}
template <class V>
void visit(Is<Run> auto& s, V&& v) {
  v("token", s.token), v("phase", s.phase), v("point", s.point), v("shares", s.shares);
  v("issued_watts", s.issued_watts), v("started_seconds", s.started_seconds);
  v("stop_seconds", s.stop_seconds), v("stop_reason", s.stop_reason), v("exit_code", s.exit_code);
  v("node_failed", s.node_failed), v("units_before", s.units_before), v("killed", s.killed);
  v("not_started", s.blameless), v("cause", s.cause);
}
template <class V>
void visit(Is<PastRun> auto& s, V&& v) {
  v("started_seconds", s.started_seconds), v("ended_seconds", s.ended_seconds), v("type", s.type);
  v("ranks", s.ranks), v("nodes", s.nodes), v("reason", s.reason), v("why", s.why);
}
template <class V>
void visit(Is<Job> auto& s, V&& v) {
  v("id", s.id), v("request", s.request), v("submit_id", s.submit_id);
  v("submitted_seconds", s.submitted_seconds), v("eligible_seconds", s.eligible_seconds);
  v("state", s.state), v("reason", s.reason), v("explanation", s.explanation), v("after", s.after);
  v("rank_counts", s.rank_counts), v("profile", s.profile), v("run", s.run);
  v("units_done", s.units_done), v("node_failures", s.node_failures);
  v("start_failures", s.start_failures), v("last_run", s.last_run);
  v("ended_seconds", s.ended_seconds), v("exit_code", s.exit_code);
  v("fruitless_runs", s.fruitless_runs), v("not_before_seconds", s.not_before_seconds);
  v("kept_bytes", s.kept_bytes), v("resize_ranks", s.resize_ranks);
  v("claims_since_seconds", s.claims_since_seconds);
}

// power/, profile/, plan/, policy/
template <class V>
void visit(Is<CapChange> auto& s, V&& v) {
  v("seconds", s.seconds), v("watts", s.watts);
}
template <class V>
void visit(Is<CapWindow> auto& s, V&& v) {
  v("watts", s.watts), v("from_seconds", s.from_seconds), v("until_seconds", s.until_seconds);
}
template <class V>
void visit(Is<CapLedger::Command> auto& s, V&& v) {
  v("sequence", s.sequence), v("node", s.node), v("devices", s.devices), v("watts", s.watts);
}
template <class V>
void visit(Is<LimitSample> auto& s, V&& v) {
  v("limit_watts", s.limit_watts), v("units_per_second", s.units_per_second), v("watts", s.watts);
  v("weight", s.weight), v("square_deviation", s.square_deviation);
}
template <class V>
void visit(Is<Amount> auto& s, V&& v) {
  v("devices", s.devices), v("watts", s.watts);
}
template <class V>
void visit(Is<Release> auto& s, V&& v) {
  v("seconds", s.seconds), v("type", s.type), v("count", s.count), v("watts", s.watts);
}
template <class V>
void visit(Is<PolicyOptions> auto& s, V&& v) {
  v("name", s.name), v("eta", s.eta), v("reserve_after_seconds", s.reserve_after_seconds);
}

// core.h, engine/state.h
template <class V>
void visit(Is<CoreOptions> auto& s, V&& v) {
  v("cap_watts", s.cap_watts), v("policy", s.policy), v("lease_seconds", s.lease_seconds);
  v("orphan_grace_seconds", s.orphan_grace_seconds);
  v("clock_margin_seconds", s.clock_margin_seconds), v("clock_slew", s.clock_slew);
  v("stop_seconds", s.stop_seconds);
  v("settle_seconds", s.settle_seconds);
  v("resend_seconds", s.resend_seconds), v("replan_seconds", s.replan_seconds);
  v("joule_lease_seconds", s.joule_lease_seconds), v("soft_reserve", s.soft_reserve);
  v("aging_seconds", s.aging_seconds), v("history_seconds", s.history_seconds);
  v("history_bytes", s.history_bytes);
  v("node_failure_limit", s.node_failure_limit), v("start_failure_limit", s.start_failure_limit);
  v("node_start_failures", s.node_start_failures);
}
template <class V>
void visit(Is<Remark> auto& s, V&& v) {
  v("time_seconds", s.time_seconds), v("text", s.text);
}
template <class V>
void visit(Is<PendingStart> auto& s, V&& v) {
  v("job", s.job), v("point", s.point), v("why", s.why);
}
template <class V>
void visit(Is<QueueAhead> auto& s, V&& v) {
  v("device_seconds", s.device_seconds), v("claimed", s.claimed), v("holds_all", s.holds_all);
}
template <class V>
void visit(Is<Outlook> auto& s, V&& v) {
  v("caps", s.caps), v("timeline", s.timeline), v("queue", s.queue);
  v("capacity", s.capacity), v("kept_joules", s.kept_joules), v("made_seconds", s.made_seconds);
}
template <class V>
void visit(Is<Joining> auto& s, V&& v) {
  v("watts", s.watts), v("until_seconds", s.until_seconds);
}
template <class V>
void visit(Is<Tenant> auto& s, V&& v) {
  v("name", s.name), v("weight", s.weight);
}

/// What can't be told from the rest (engine/rebuild.cpp).
template <class V>
void visit(Is<State> auto& s, V&& v) {
  v("options", s.options), v("now_seconds", s.now_seconds), v("events", s.events);
  v("types", s.types), v("nodes", s.nodes), v("devices", s.devices), v("jobs", s.jobs);
  v("owner_of_token", s.owner_of_token), v("acceptances", s.acceptances);
  v("jobs_by_name", s.jobs_by_name), v("history", s.history), v("last_job", s.last_job);
  v("last_token", s.last_token), v("tenants", s.tenants), v("joules", s.joules);
  v("ledger", s.ledger), v("hard_cap", s.hard_cap), v("soft_cap", s.soft_cap);
  v("profiles", s.profiles), v("pending_starts", s.pending_starts), v("to_adjust", s.to_adjust);
  v("sent_seconds", s.sent_seconds), v("over_cap_seconds", s.over_cap_seconds);
  v("changed_event", s.changed_event);
  v("new_job_event", s.new_job_event), v("planned_event", s.planned_event);
  v("planned_seconds", s.planned_seconds), v("planned_cap_watts", s.planned_cap_watts);
  v("planned_soft_cap_watts", s.planned_soft_cap_watts);
  v("outlook", s.outlook), v("forgot_seconds", s.forgot_seconds);
  v("joining", s.joining), v("dependencies", s.dependencies);
}

}  // namespace wattle::scheduler::fields
