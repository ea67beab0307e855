#include <fmt/format.h>

#include <algorithm>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

/// What a run gives back that can go on at another point.
std::vector<NodeShare> freed_by(const Run& run, const OperatingPoint& point) {
  return run.point.type == point.type ? run.shares : std::vector<NodeShare>{};
}

void move_run(Round& round, Job& job, const PlannedJob& choice) {
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
  if (stays(round.state, job)) return;  // drained since the plan was asked for
  // Free devices may lie on nodes that share no folder: then it had better stay where it is.
  if (!round.state.pool.fits(choice.point->type, choice.point->ranks, freed_by(run, *choice.point)))
    return;
  const std::string remark = fmt::format("{} from {} to {} ranks: {}",
                                         choice.point->ranks > run.point.ranks ? "grows" : "moves",
                                         run.point.ranks, choice.point->ranks, choice.why);
  round.decide(job.id, Resize{job.id, run.point.ranks, choice.point->ranks, choice.why}, remark);
  job.resize_ranks = choice.point->ranks;
  stop_run(round, job, Reason::kResize, choice.why);
}

/// What has happened since the plan was asked for goes before it: runs that are others now, jobs
/// that have ended and joules that are spent.
void carry_out(Round& round, const Planned& event) {
  State& state = round.state;
  for (const PlannedJob& choice : event.jobs) {
    auto found = state.jobs.find(choice.job);
    if (found == state.jobs.end() || is_finished(found->second.state)) continue;
    Job& job = found->second;
    // A plan of a version that numbered types otherwise.
    if (choice.point && choice.point->type >= static_cast<int>(state.types.size())) continue;
    if ((job.run ? job.run->token : 0) != choice.token) continue;
    if (job.run) {
      if (steerable(state, job)) move_run(round, job, choice);
    } else if (!choice.point) {
      round.change(job, job.state, choice.reason, choice.why);
    } else if (job.not_before_seconds <= state.now_seconds && has_joules(state, job, 0)) {
      state.pending_starts.push_back({job.id, *choice.point, choice.why});
    }
  }
}

double seconds_left(const Job& job, const Options& options, const OperatingPoint& point) {
  auto found = std::find_if(options.begin(), options.end(),
                            [&](const Option& option) { return option.point == point; });
  const Performance& p = (found == options.end() ? options.front() : *found).performance;
  const double units = std::max(0.0, job.request.work.units - job.units_done);
  return p.units_per_second > 0 ? units / p.units_per_second : 0;
}

/// With many jobs, what comes free when changes slowly against the whole of it.
constexpr double kOutlookSecondsPerJob = 1e-3;

/// For those who ask at submit time when a job can start.
void look_ahead(State& state) {
  const auto jobs = static_cast<double>(state.running.size() + state.waiting.size());
  if (state.now_seconds < state.outlook.made_seconds + kOutlookSecondsPerJob * jobs) return;
  state.outlook.made_seconds = state.now_seconds;
  const Snapshot snapshot = make_snapshot(state, state.now_seconds);
  Outlook& outlook = state.outlook;
  outlook.capacity.clear();
  outlook.queued_device_seconds.assign(snapshot.types.size(), 0);
  Amount free{{}, snapshot.watts};
  for (const TypeView& type : snapshot.types) {
    free.devices.push_back(type.capacity);
    outlook.capacity.push_back(type.capacity);
  }
  std::vector<Release> releases;
  auto options_of = [&](const Job& job) { return state.profiles.options(state.types, job); };
  for (JobId id : state.running) {
    const Job& job = state.jobs.at(id);
    if (!steerable(state, job)) continue;
    const OperatingPoint& point = job.run->point;
    const double watts = run_watts(snapshot, point);
    const int ranks = stays(state, job) ? 0 : point.ranks;  // that come free
    free.devices[point.type] -= ranks;
    free.watts -= watts;
    if (job.request.work.units <= 0) continue;
    const double end = state.now_seconds + seconds_left(job, *options_of(job), point);
    releases.push_back({end, point.type, ranks, watts});
  }
  for (JobId id : state.waiting) {
    const Job& job = state.jobs.at(id);
    const auto options = options_of(job);
    if (job.is_dependent || options->empty() || !has_joules(state, job, 0)) continue;
    const OperatingPoint& point = options->front().point;
    outlook.queued_device_seconds[point.type] += seconds_left(job, *options, point) * point.ranks;
  }
  outlook.timeline = Timeline(state.now_seconds, std::move(free), std::move(releases));
}

}  // namespace

void on(Round& round, const Planned& event) {
  State& state = round.state;
  if (!event.part) {
    state.planned_event = event.seen_events;
    state.planned_seconds = event.made_seconds;
    state.planned_cap_watts = event.cap_watts;
    state.planned_soft_cap_watts = event.soft_cap_watts;
    std::erase_if(state.resting, [&](const auto& r) { return r.first <= event.made_seconds; });
  }
  // A plan for a higher cap would not meet the one of now: another is due at once.
  if (event.cap_watts > planning_cap(state, state.now_seconds)) return;
  if (!event.part) state.pending_starts.clear();
  carry_out(round, event);
  if (!event.part) look_ahead(state);
}

}  // namespace wattle::scheduler
