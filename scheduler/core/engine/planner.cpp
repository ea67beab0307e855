#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "common/text.h"
#include "scheduler/core/engine/joule_claims.h"
#include "scheduler/core/engine/state.h"
#include "scheduler/core/engine/weight.h"

namespace wattle::scheduler {
namespace {

/// A plan takes some microseconds for each job that waits. Jobs that come when many wait already
/// are planned with a pause in proportion, so that planning takes about a hundredth of the time.
constexpr double kPauseSecondsPerWaitingJob = 1e-3;

/// That start or go on waiting. A part is applied, written and told the agents in about ten
/// milliseconds.
constexpr size_t kJobsOfAPart = 250;

constexpr JobId kNobody = std::numeric_limits<JobId>::max();  ///< behind all others

/// What a waiting job can pay the start of, beside what is kept for runs. A budget that is nearly
/// spent still starts it on fewer ranks.
std::shared_ptr<const Options> payable(const State& state, const Job& job, double kept_joules,
                                       std::shared_ptr<const Options> options) {
  constexpr double kForever = std::numeric_limits<double>::infinity();
  const double left =
      std::min(state.joules.tenant_left(job.request.tenant).value_or(kForever) - kept_joules,
               state.joules.job_left(job.id).value_or(kForever));
  if (std::isinf(left)) return options;
  const auto is_payable = [&](const Option& option) {
    return start_joules(state, option.point.type, option.point.ranks) <= left;
  };
  if (std::ranges::all_of(*options, is_payable)) return options;  // shared, not copied
  auto kept = std::make_shared<Options>();
  std::ranges::copy_if(*options, std::back_inserter(*kept), is_payable);
  return kept;
}

/// Whether a cap that falls soon would stop a waiting job before its run is worth its start. Then
/// it takes no part, and is told once.
bool lasts(const State& state, const Job& job, const std::optional<CapChange>& fall,
           PlanRequest& request, double now_seconds) {
  if (!fall || outlasts(state, job, *fall, now_seconds)) return true;
  if (job.reason != Reason::kPowerCap) {
    request.left_out.push_back(
        {job.id, 0, std::nullopt, Reason::kPowerCap,
         fmt::format("a cap of {:.0f} W from {} on will not hold it, and would stop it before it "
                     "gets anywhere",
                     fall->watts, time_text(fall->seconds))});
  }
  return false;
}

/// Whether a waiting job has the joules to start. If not it takes no part, and is told once.
bool can_pay(const State& state, const Job& job, double kept_joules, PlanRequest& request) {
  const std::string why = short_of_joules(state, job, kept_joules);
  if (!why.empty() && job.reason != Reason::kEnergyBudget) {
    request.left_out.push_back({job.id, 0, std::nullopt, Reason::kEnergyBudget, why});
  }
  return why.empty();
}

/// Whether a job is between two runs: told to stop, or stopped, for other ranks.
bool is_resizing(const State& state, const Job& job) {
  if (!job.run) return job.resize_ranks > 0 || job.reason == Reason::kResize;
  const Run& run = *job.run;
  return run.phase == Run::Phase::kStopping && run.stop_reason == Reason::kResize &&
         !run.node_failed && std::ranges::all_of(run.shares, [&](const NodeShare& share) {
           return share.gone || in_reach(state, share);
         });
}

JobView view_of(State& state, const Job& job, int tenant, double kept_joules, double now_seconds) {
  JobView view;
  view.id = job.id;
  view.tenant = tenant;
  view.options = state.profiles.options(state.types, job);
  view.weight = weight_of(state, job, *view.options, now_seconds);
  view.resizing = is_resizing(state, job);
  if (job.run && !view.resizing) {
    view.current = job.run->point;
  } else {
    view.options = payable(state, job, kept_joules, std::move(view.options));
    view.waited_seconds = job.run ? 0 : std::max(0.0, now_seconds - job.eligible_seconds);
  }
  if (view.resizing) {
    // Older versions did not know the ranks.
    view.claim.ranks = job.resize_ranks > 0 ? job.resize_ranks : job.rank_counts.front();
    if (job.run) view.claim.type = job.run->point.type;
    if (!job.run && job.last_run) view.claim.type = job.last_run->type;
  }
  if (job.request.work.units > 0) {
    view.units_left = std::max(0.0, job.request.work.units - job.units_done);
  }
  if (job.request.energy_budget_joules) view.joules_left = state.joules.job_left(job.id);
  view.last_reason = job.reason;
  return view;
}

std::vector<TypeView> capacities(const State& state) {
  std::vector<TypeView> types;
  for (const DeviceType& type : state.types) {
    const size_t index = types.size();
    types.push_back({type, state.pool.free(static_cast<int>(index)), state.widest[index]});
  }
  for (JobId id : state.running) {
    const Job& job = state.jobs.at(id);
    for (const NodeShare& share : job.run->shares) {
      if (!planned_with(state, job, share)) continue;
      if (steerable(state, job) && stays(state, job)) continue;  // see set_apart()
      types[job.run->point.type].capacity += static_cast<int>(share.devices.size());
    }
  }
  return types;
}

/// See IdleDraw: of so many devices by type, what draws nothing but idle watts together.
void choose_idle_draws(const State& state, const std::vector<int>& devices, double idle_watts,
                       Snapshot& snapshot) {
  if (!all_can_run(state, devices, snapshot.watts + idle_watts)) return;
  snapshot.watts += idle_watts;
  for (size_t type = 0; type < snapshot.types.size(); ++type) {
    const double highest = state.idle_draws[type].highest_watts;
    snapshot.watts -= devices[type] * highest;
    snapshot.types[type].type.idle_watts = highest;
  }
}

TenantView tenant_of(const State& state, const std::string& name, double now_seconds) {
  return {name, state.joules.tenant_left(name),
          state.joules.period_end_seconds(name) - now_seconds};
}

std::vector<TenantView> tenants_of(const State& state, double now_seconds) {
  std::vector<TenantView> tenants;
  for (const auto& [name, tenant] : state.tenants) {
    tenants.push_back(tenant_of(state, name, now_seconds));
  }
  return tenants;
}

/// In the queue's order.
std::vector<const Job*> jobs_to_plan(const State& state, JouleClaims& claims, PlanRequest& request,
                                     double now_seconds) {
  using Place = std::tuple<int, double, JobId, const Job*>;
  std::vector<Place> places;
  places.reserve(state.running.size() + state.waiting.size());
  auto add = [&](const Job& job) {
    places.emplace_back(-job.request.priority, job.submitted_seconds, job.id, &job);
  };
  for (JobId id : state.running) {
    const Job& job = state.jobs.at(id);
    if (steerable(state, job) || is_resizing(state, job)) add(job);
  }
  const auto fall = fall_ahead(state, now_seconds);
  for (JobId id : state.waiting) {
    const Job& job = state.jobs.at(id);
    if (job.is_dependent || job.not_before_seconds > now_seconds) continue;
    if (!can_pay(state, job, claims.before(job), request)) continue;
    if (lasts(state, job, fall, request, now_seconds)) add(job);
  }
  std::sort(places.begin(), places.end());
  std::vector<const Job*> jobs;
  jobs.reserve(places.size());
  for (const Place& place : places) jobs.push_back(std::get<const Job*>(place));
  return jobs;
}

/// Runs that stay where they are get a device type of their own, as many as they hold: a policy can
/// lower or, for the cap, stop them, and gives their devices to nobody.
void set_apart(const State& state, PlanRequest& request) {
  Snapshot& snapshot = request.snapshot;
  std::map<int, int> own_types;  // by type, the one that stands for it
  for (JobView& view : snapshot.jobs) {
    if (!view.current || !stays(state, state.jobs.at(view.id))) continue;
    OperatingPoint& now = *view.current;
    const auto [found, is_new] =
        own_types.emplace(now.type, static_cast<int>(snapshot.types.size()));
    if (is_new) {
      request.apart[found->second] = now.type;
      snapshot.types.push_back({snapshot.types[now.type].type, 0});
    }
    auto options = std::make_shared<Options>();
    for (Option option : *view.options) {
      if (option.point.type != now.type || option.point.ranks != now.ranks) continue;
      option.point.type = found->second;
      options->push_back(option);
    }
    view.options = std::move(options);
    now.type = found->second;
    snapshot.types[found->second].capacity += now.ranks;
  }
}

/// Whether a choice says anything that is not so already.
bool is_news(const JobView& job, const Choice& choice) {
  if (job.current) return choice.point != job.current;
  return choice.point || choice.reason != job.last_reason;
}

}  // namespace

bool steerable(const State& state, const Job& job) {
  if (!job.run || job.run->phase == Run::Phase::kStopping) return false;
  return std::ranges::all_of(job.run->shares,
                             [&](const NodeShare& share) { return in_reach(state, share); });
}

bool planned_with(const State& state, const Job& job, const NodeShare& share) {
  if (!in_reach(state, share)) return false;
  if (job.run->phase == Run::Phase::kStopping) return !state.nodes[share.node].drained;
  return steerable(state, job);
}

bool stays(const State& state, const Job& job) {
  return std::ranges::any_of(job.run->shares, [&](const NodeShare& share) {
    return !share.gone && state.nodes[share.node].drained;
  });
}

Snapshot make_snapshot(const State& state, double now_seconds) {
  Snapshot snapshot;
  snapshot.now_seconds = now_seconds;
  const PlanCap cap = cap_for_plan(state, now_seconds, measured_slack(state));
  snapshot.watts = std::max(0.0, cap.watts - base_watts(state)) + kRoundingWatts;
  snapshot.slack_watts = cap.slack_watts;
  snapshot.types = capacities(state);
  snapshot.tenants = tenants_of(state, now_seconds);
  return snapshot;
}

Snapshot make_snapshot_alone(State& state, const Job& job, double at_seconds) {
  Snapshot snapshot;
  snapshot.now_seconds = at_seconds;
  const double watts = cap_for_plan(state, at_seconds, 0).watts - state.least_cap_watts;
  snapshot.watts = std::max(0.0, watts) + kRoundingWatts;
  for (const DeviceType& type : state.types) {
    const size_t index = snapshot.types.size();
    snapshot.types.push_back({type, state.installed[index], state.widest[index]});
  }
  choose_idle_draws(state, state.installed, state.least_cap_watts, snapshot);
  snapshot.tenants.push_back(tenant_of(state, job.request.tenant, at_seconds));
  JobView view = view_of(state, job, 0, 0, at_seconds);
  if (view.options->empty()) view.options = state.profiles.options(state.types, job);
  snapshot.jobs.push_back(std::move(view));
  return snapshot;
}

PlanRequest request_plan(State& state, double now_seconds) {
  PlanRequest request;
  Snapshot& snapshot = request.snapshot = make_snapshot(state, now_seconds);
  double idle_watts = 0;
  for (const IdleDraw& draw : state.idle_draws) idle_watts += draw.up_watts;
  choose_idle_draws(state, state.up, idle_watts, snapshot);
  std::unordered_map<std::string_view, int> tenant_index;
  for (const TenantView& tenant : snapshot.tenants) {
    tenant_index.emplace(tenant.name, static_cast<int>(tenant_index.size()));
  }
  JouleClaims claims(state, now_seconds);
  const std::vector<const Job*> jobs = jobs_to_plan(state, claims, request, now_seconds);
  snapshot.jobs.reserve(jobs.size());
  request.tokens.reserve(jobs.size());
  for (const Job* job : jobs) {
    const int tenant = tenant_index.at(job->request.tenant);
    const double kept = job->run ? 0 : claims.before(*job);
    snapshot.jobs.push_back(view_of(state, *job, tenant, kept, now_seconds));
    request.tokens.push_back(job->run ? job->run->token : 0);
  }
  set_apart(state, request);
  request.cap_watts = planning_cap(state, now_seconds);
  request.soft_cap_watts = planning_soft_cap(state, now_seconds);
  request.seen_events = state.events;
  request.policy = state.policy;
  return request;
}

Planned make_plan(const PlanRequest& request) {
  const Snapshot& snapshot = request.snapshot;
  Planned planned{request.seen_events, snapshot.now_seconds, request.cap_watts, request.left_out};
  planned.soft_cap_watts = request.soft_cap_watts;
  Plan plan = request.policy->plan(snapshot);
  for (size_t i = 0; i < plan.choices.size(); ++i) {
    Choice& choice = plan.choices[i];
    const bool still_stops = request.tokens[i] != 0 && !snapshot.jobs[i].current;
    if (still_stops || !is_news(snapshot.jobs[i], choice)) continue;
    if (choice.point) {
      const auto apart = request.apart.find(choice.point->type);
      if (apart != request.apart.end()) choice.point->type = apart->second;
    }
    planned.jobs.push_back({snapshot.jobs[i].id, request.tokens[i], choice.point, choice.reason,
                            std::move(choice.why)});
  }
  return planned;
}

std::vector<Planned> parts_of(Planned plan) {
  const auto is_run = [](const PlannedJob& job) { return job.token != 0; };
  const auto starts = [](const PlannedJob& job) { return job.point.has_value(); };
  const auto first_start = std::stable_partition(plan.jobs.begin(), plan.jobs.end(), is_run);
  std::stable_partition(first_start, plan.jobs.end(), starts);
  const Planned head{plan.seen_events,   plan.made_seconds, plan.cap_watts, {}, {},
                     plan.soft_cap_watts};
  std::vector<Planned> parts{head};
  parts[0].jobs.assign(std::make_move_iterator(plan.jobs.begin()),
                       std::make_move_iterator(first_start));
  size_t room = kJobsOfAPart;
  for (auto job = first_start; job != plan.jobs.end(); ++job, --room) {
    if (room == 0) {
      parts.push_back(head);
      parts.back().part = parts.size() - 1;
      room = kJobsOfAPart;
    }
    parts.back().jobs.push_back(std::move(*job));
  }
  return parts;
}

bool is_plan_due(const State& state, double now_seconds) {
  if (state.changed_event > state.planned_event) return true;
  const auto rested = state.resting.upper_bound({state.planned_seconds, kNobody});
  if (rested != state.resting.end() && rested->first <= now_seconds) return true;
  if (planning_cap(state, now_seconds) != state.planned_cap_watts) return true;
  if (planning_soft_cap(state, now_seconds) != state.planned_soft_cap_watts) return true;
  const double pause = kPauseSecondsPerWaitingJob * static_cast<double>(state.waiting.size());
  const bool has_new_jobs = state.new_job_event > state.planned_event;
  if (has_new_jobs && now_seconds >= state.planned_seconds + pause) return true;
  const bool has_jobs = !state.running.empty() || !state.waiting.empty();
  return has_jobs && now_seconds >= state.planned_seconds + state.options.replan_seconds;
}

}  // namespace wattle::scheduler
