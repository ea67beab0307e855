#include <fmt/format.h>

#include <algorithm>

#include "scheduler/core/engine/joule_claims.h"
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
  // A run that could not pay its next start would be stopped for long.
  const double start = start_joules(round.state, choice.point->type, choice.point->ranks);
  if (!has_joules(round.state, job, start - unused_lease(round.state, run), 0)) return;
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
      job.claims_since_seconds.reset();
      round.change(job, job.state, choice.reason, choice.why);
    } else if (job.not_before_seconds <= state.now_seconds && has_joules(state, job, 0, 0)) {
      state.pending_starts.push_back({job.id, *choice.point, choice.why});
    }
  }
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
}

}  // namespace wattle::scheduler
