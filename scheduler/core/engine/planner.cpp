#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "scheduler/core/engine/state.h"
#include "scheduler/core/engine/weight.h"

namespace wattle::scheduler {
namespace {

/// A plan takes some microseconds for each job that waits. Jobs that come when many wait already
/// are planned with a pause in proportion, so that planning takes about a hundredth of the time.
constexpr double kPauseSecondsPerWaitingJob = 1e-3;

/// Runs that can be moved now: not stopping, all of their nodes in reach.
bool steerable(const State& state, const Job& job) {
  if (!job.run || job.run->phase == Run::Phase::kStopping) return false;
  return std::all_of(job.run->shares.begin(), job.run->shares.end(), [&](const NodeShare& share) {
    return !share.gone && state.nodes[share.node].state == NodeState::kUp;
  });
}

/// Whether the devices of a share count as the planner's: its run can be moved, or is about to end
/// and leaves them to others.
bool planned_with(const State& state, const Job& job, const NodeShare& share) {
  const Node& node = state.nodes[share.node];
  if (share.gone || node.state != NodeState::kUp) return false;
  if (job.run->phase == Run::Phase::kStopping) return !node.drained;
  return steerable(state, job);
}

/// Whether a waiting job takes part; says why if it does not.
bool eligible(Round& round, Job& job) {
  if (!job.after.empty()) return false;
  State& state = round.state;
  const auto tenant_left = state.joules.tenant_left(job.request.tenant);
  const auto own_left = state.joules.job_left(job.id);
  if (tenant_left && *tenant_left < 1) {
    round.change(
        job, job.state, Reason::kEnergyBudget,
        fmt::format("tenant {} has no joules left until its next period at {:.0f}",
                    job.request.tenant, state.joules.period_end_seconds(job.request.tenant)));
    return false;
  }
  return !own_left || *own_left >= 1;
}

JobView view_of(State& state, const Job& job, int tenant) {
  JobView view;
  view.id = job.id;
  view.tenant = tenant;
  view.options = state.profiles.options(job);
  view.weight = weight_of(state, job, *view.options);
  if (job.run) view.current = job.run->point;
  view.resizing = !job.run && job.reason == Reason::kResize;
  if (job.request.work.units > 0) {
    view.units_left = std::max(0.0, job.request.work.units - job.units_done);
  }
  view.joules_left = state.joules.job_left(job.id);
  view.last_reason = job.reason;
  return view;
}

void move_run(Round& round, Job& job, const Choice& choice) {
  Run& run = *job.run;
  if (!choice.point) {
    stop_run(round, job, choice.reason == Reason::kNone ? Reason::kPreempted : choice.reason,
             choice.why);
    return;
  }
  if (choice.point->type == run.point.type && choice.point->ranks == run.point.ranks) {
    if (run.point.limit_watts != choice.point->limit_watts) run.point = *choice.point;
    round.state.to_adjust.insert(job.id);
    return;
  }
  const std::string remark = fmt::format("{} from {} to {} ranks: {}",
                                         choice.point->ranks > run.point.ranks ? "grows" : "moves",
                                         run.point.ranks, choice.point->ranks, choice.why);
  round.decide(job.id, Resize{job.id, run.point.ranks, choice.point->ranks, choice.why}, remark);
  stop_run(round, job, Reason::kResize, choice.why);
}

void carry_out(Round& round, const Snapshot& snapshot, Plan plan) {
  State& state = round.state;
  state.pending_starts.clear();
  for (size_t i = 0; i < plan.choices.size(); ++i) {
    Choice& choice = plan.choices[i];
    Job& job = state.jobs.at(snapshot.jobs[i].id);
    if (job.run) {
      move_run(round, job, choice);
    } else if (choice.point) {
      state.pending_starts.push_back({job.id, *choice.point, std::move(choice.why)});
    } else {
      round.change(job, job.state, choice.reason, choice.why);
    }
  }
}

void look_ahead(State& state, const Snapshot& snapshot) {
  Outlook& outlook = state.outlook;
  outlook.capacity.clear();
  outlook.queued_device_seconds.assign(snapshot.types.size(), 0);
  Amount free{{}, snapshot.watts};
  for (const TypeView& type : snapshot.types) {
    free.devices.push_back(type.capacity);
    outlook.capacity.push_back(type.capacity);
  }
  std::vector<Release> releases;
  for (const JobView& job : snapshot.jobs) {
    if (job.options->empty()) continue;
    const OperatingPoint point = job.current.value_or(job.options->front().point);
    const double rate = [&] {
      for (const Option& option : *job.options) {
        if (option.point == point) return option.performance.units_per_second;
      }
      return job.options->front().performance.units_per_second;
    }();
    const double seconds = job.units_left && rate > 0 ? *job.units_left / rate : 0;
    if (!job.current) {
      outlook.queued_device_seconds[point.type] += seconds * point.ranks;
      continue;
    }
    free.devices[point.type] -= point.ranks;
    free.watts -= run_watts(snapshot, point);
    if (job.units_left) {
      releases.push_back(
          {state.now_seconds + seconds, point.type, point.ranks, run_watts(snapshot, point)});
    }
  }
  outlook.timeline = Timeline(state.now_seconds, std::move(free), std::move(releases));
}

}  // namespace

double base_watts(const State& state) {
  double watts = 0;
  auto add = [&](const std::vector<DeviceId>& devices, bool beyond_idle) {
    for (DeviceId device : devices) {
      watts += state.ledger.possible_watts(device);
      if (beyond_idle) watts -= state.types[state.devices[device].type].idle_watts;
    }
  };
  for (const Node& node : state.nodes) {
    if (node.state != NodeState::kUp) {
      add(node.devices, false);
      continue;
    }
    watts += node.idle_watts;
    for (const auto& [token, devices] : node.foreign_runs) add(devices, true);
  }
  for (JobId id : state.running) {
    const Job& job = state.jobs.at(id);
    for (const NodeShare& share : job.run->shares) {
      const bool here = !share.gone && state.nodes[share.node].state == NodeState::kUp;
      if (here && !planned_with(state, job, share)) add(share.devices, true);
    }
  }
  return watts;
}

namespace {

/// With a soft cap, limits may exceed it by the slack: what devices were measured to draw less.
double cap_for_plan(const State& state) {
  double cap = planning_cap(state);
  if (!state.soft_cap) return cap;
  const double soft =
      state.soft_cap->lowest(state.now_seconds, state.now_seconds + state.options.settle_seconds);
  double slack = 0;
  for (JobId id : state.running) {
    const Run& run = *state.jobs.at(id).run;
    for (const NodeShare& share : run.shares) {
      const double limit = run.issued_watts * static_cast<double>(share.devices.size());
      if (!share.gone && share.watts > 0) slack += std::max(0.0, limit - share.watts);
    }
  }
  return std::min(cap, soft * (1 - state.options.soft_reserve) + slack);
}

}  // namespace

namespace {

void count_capacity(const State& state, Snapshot& snapshot) {
  for (size_t t = 0; t < state.types.size(); ++t) {
    snapshot.types[t].capacity = state.pool.free(static_cast<int>(t));
  }
  for (JobId id : state.running) {
    const Job& job = state.jobs.at(id);
    for (const NodeShare& share : job.run->shares) {
      if (!planned_with(state, job, share)) continue;
      snapshot.types[job.run->point.type].capacity += static_cast<int>(share.devices.size());
    }
  }
}

}  // namespace

Snapshot make_snapshot(State& state) {
  Decisions unused;
  Round round{state, unused};
  Snapshot snapshot;
  snapshot.now_seconds = state.now_seconds;
  snapshot.watts = std::max(0.0, cap_for_plan(state) - base_watts(state));
  for (const DeviceType& type : state.types) snapshot.types.push_back({type, 0});
  count_capacity(state, snapshot);
  std::map<std::string, int> tenant_index;
  for (const auto& [name, tenant] : state.tenants) {
    tenant_index[name] = static_cast<int>(snapshot.tenants.size());
    snapshot.tenants.push_back({name, state.joules.tenant_left(name),
                                state.joules.period_end_seconds(name) - state.now_seconds});
  }
  std::vector<const Job*> jobs;
  for (JobId id : state.running) {
    if (steerable(state, state.jobs.at(id))) jobs.push_back(&state.jobs.at(id));
  }
  for (JobId id : state.waiting) {
    if (eligible(round, state.jobs.at(id))) jobs.push_back(&state.jobs.at(id));
  }
  std::sort(jobs.begin(), jobs.end(), [](const Job* a, const Job* b) {
    return std::tuple(-a->request.priority, a->submitted_seconds, a->id) <
           std::tuple(-b->request.priority, b->submitted_seconds, b->id);
  });
  for (const Job* job : jobs) {
    snapshot.jobs.push_back(view_of(state, *job, tenant_index[job->request.tenant]));
  }
  return snapshot;
}

void plan(Round& round) {
  State& state = round.state;
  const Snapshot snapshot = make_snapshot(state);
  carry_out(round, snapshot, state.policy->plan(snapshot));
  look_ahead(state, snapshot);
  state.dirty = state.has_new_jobs = false;
  state.planned_seconds = state.now_seconds;
  state.planned_cap_watts = planning_cap(state);
}

void plan_if_due(Round& round) {
  const State& state = round.state;
  const bool overdue = state.now_seconds >= state.planned_seconds + state.options.replan_seconds;
  const double pause = kPauseSecondsPerWaitingJob * static_cast<double>(state.waiting.size());
  const bool is_queue_due =
      state.has_new_jobs && state.now_seconds >= state.planned_seconds + pause;
  if (state.dirty || is_queue_due || overdue || planning_cap(state) != state.planned_cap_watts) {
    plan(round);
  }
}

}  // namespace wattle::scheduler
