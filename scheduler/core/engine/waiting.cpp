#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

std::string waits_for(const Job& other) {
  return fmt::format("waits for job {} ({})", other.id, to_string(other.state));
}

}  // namespace

void begin_to_wait(Round& round, const std::vector<JobId>& ids, std::vector<JobId> after) {
  if (after.empty()) return;
  State& state = round.state;
  const auto ended = std::ranges::find_if(
      after, [&](JobId other) { return is_finished(state.jobs.at(other).state); });
  const bool never = ended != after.end();
  const std::string why = waits_for(state.jobs.at(never ? *ended : after.front()));
  const JobRequest& request = state.jobs.at(ids.front()).request;
  state.dependencies.add({request.tenant, request.user}, ids, std::move(after));
  for (const JobId id : ids) {
    round.change(state.jobs.at(id), JobState::kPending,
                 never ? Reason::kDependencyNeverSatisfied : Reason::kDependency, why);
  }
}

void end_of_waiting(Round& round, Job& ended) {
  State& state = round.state;
  if (ended.is_dependent) state.dependencies.remove(ended.id);
  ended.is_dependent = false;
  if (ended.state != JobState::kCompleted) {
    const std::string why = waits_for(ended);
    for (const JobId id : state.dependencies.waiting_for(ended.id)) {
      round.change(state.jobs.at(id), JobState::kPending, Reason::kDependencyNeverSatisfied, why);
    }
    return;
  }
  for (const JobId id : state.dependencies.complete(ended.id)) {
    Job& job = state.jobs.at(id);
    job.is_dependent = false;
    job.eligible_seconds = state.now_seconds;
    round.change(job, JobState::kPending, Reason::kNone, "the jobs it waited for are completed");
    state.note_change();
  }
}

void restore_dependencies(State& state) {
  state.dependencies.rebuild();
  for (auto& [id, job] : state.jobs) {
    std::vector<JobId> after = std::exchange(job.after, {});
    if (after.empty() || is_finished(job.state)) continue;
    std::erase_if(after, [&](JobId other) {
      const auto found = state.jobs.find(other);
      return found == state.jobs.end() || found->second.state == JobState::kCompleted;
    });
    std::ranges::sort(after);
    if (after.empty()) continue;
    state.dependencies.add({job.request.tenant, job.request.user}, {id}, std::move(after));
  }
  for (auto& [id, job] : state.jobs) job.is_dependent = false;
  for (const JobId id : state.dependencies.waiting()) state.jobs.at(id).is_dependent = true;
}

std::string waits_now(const State& state, const Job& job) {
  const std::vector<JobId>& after = state.dependencies.after(job.id);
  std::string text = waits_for(state.jobs.at(after.front()));
  if (after.size() > 1) text += fmt::format(" and {} more", after.size() - 1);
  return text;
}

}  // namespace wattle::scheduler
