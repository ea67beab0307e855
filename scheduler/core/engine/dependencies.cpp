#include "scheduler/core/engine/dependencies.h"

#include <fmt/format.h>

#include <algorithm>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

void erase_from(std::vector<JobId>& ascending, JobId id) {
  const auto found = std::lower_bound(ascending.begin(), ascending.end(), id);
  if (found != ascending.end() && *found == id) ascending.erase(found);
}

std::string waits_for(const Job& other) {
  return fmt::format("waits for job {} ({})", other.id, to_string(other.state));
}

}  // namespace

void Dependencies::count(const Job& job, int64_t change) {
  if (change == 0) return;
  pairs_ += change;
  const auto at = pairs_of_.try_emplace({job.request.tenant, job.request.user}, 0).first;
  at->second += change;
  if (at->second == 0) pairs_of_.erase(at);
}

void Dependencies::add(const Job& job) {
  for (const JobId other : job.after) waiting_for_[other].push_back(job.id);
  count(job, static_cast<int64_t>(job.after.size()));
}

void Dependencies::remove(const Job& job) {
  for (const JobId other : job.after) {
    std::vector<JobId>& waiting = waiting_for_.at(other);
    erase_from(waiting, job.id);
    if (waiting.empty()) waiting_for_.erase(other);
  }
  count(job, -static_cast<int64_t>(job.after.size()));
}

std::vector<JobId> Dependencies::complete(JobId id, std::map<JobId, Job>& jobs) {
  const auto found = waiting_for_.find(id);
  if (found == waiting_for_.end()) return {};
  std::vector<JobId> free = std::move(found->second);
  waiting_for_.erase(found);
  std::erase_if(free, [&](JobId waiter) {
    Job& job = jobs.at(waiter);
    erase_from(job.after, id);
    count(job, -1);
    return !job.after.empty();
  });
  return free;
}

const std::vector<JobId>& Dependencies::waiting_for(JobId id) const {
  static const std::vector<JobId> kNobody;
  const auto found = waiting_for_.find(id);
  return found == waiting_for_.end() ? kNobody : found->second;
}

int64_t Dependencies::pairs_of(const std::string& tenant, const std::string& user) const {
  const auto found = pairs_of_.find({tenant, user});
  return found == pairs_of_.end() ? 0 : found->second;
}

void begin_to_wait(Round& round, const std::vector<JobId>& ids) {
  State& state = round.state;
  const std::vector<JobId>& after = state.jobs.at(ids.front()).after;
  if (after.empty()) return;
  const auto ended = std::ranges::find_if(
      after, [&](JobId other) { return is_finished(state.jobs.at(other).state); });
  const bool never = ended != after.end();
  const std::string why = waits_for(state.jobs.at(never ? *ended : after.front()));
  for (const JobId id : ids) {
    Job& job = state.jobs.at(id);
    state.dependencies.add(job);
    round.change(job, JobState::kPending,
                 never ? Reason::kDependencyNeverSatisfied : Reason::kDependency, why);
  }
}

void end_of_waiting(Round& round, Job& ended) {
  State& state = round.state;
  state.dependencies.remove(ended);
  ended.after = {};
  if (ended.state != JobState::kCompleted) {
    const std::string why = waits_for(ended);
    for (const JobId id : state.dependencies.waiting_for(ended.id)) {
      round.change(state.jobs.at(id), JobState::kPending, Reason::kDependencyNeverSatisfied, why);
    }
    return;
  }
  for (const JobId id : state.dependencies.complete(ended.id, state.jobs)) {
    Job& job = state.jobs.at(id);
    job.eligible_seconds = state.now_seconds;
    round.change(job, JobState::kPending, Reason::kNone, "the jobs it waited for are completed");
    state.note_change();
  }
}

void restore_waiting(State& state, Job& job) {
  std::erase_if(job.after, [&](JobId other) {
    const auto found = state.jobs.find(other);
    return found == state.jobs.end() || found->second.state == JobState::kCompleted;
  });
  std::ranges::sort(job.after);
  state.dependencies.add(job);
}

std::string waits_now(const State& state, const Job& job) {
  std::string text = waits_for(state.jobs.at(job.after.front()));
  const size_t others = job.after.size() - 1;
  if (others > 0) text += fmt::format(" and {} more", others);
  return text;
}

}  // namespace wattle::scheduler
