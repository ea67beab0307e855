#include "scheduler/core/engine/dependencies.h"

#include <fmt/format.h>

#include <algorithm>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

void erase_from(std::vector<JobId>& ascending, JobId id) {
  const auto found = std::ranges::lower_bound(ascending, id);
  if (found != ascending.end() && *found == id) ascending.erase(found);
}

std::string waits_for(const Job& other) {
  return fmt::format("waits for job {} ({})", other.id, to_string(other.state));
}

}  // namespace

void Dependencies::count(const Owner& owner, size_t pairs, int sign) {
  const int64_t change = sign * static_cast<int64_t>(pairs);
  pairs_ += change;
  if ((pairs_of_[owner] += change) == 0) pairs_of_.erase(owner);
}

void Dependencies::index(const Requests::value_type& added) {
  const auto& [id, request] = added;
  for (const JobId other : request.after) requests_after_[other].push_back(id);
  count(request.owner, request.jobs.size() * request.after.size(), 1);
}

Dependencies::Requests::const_iterator Dependencies::find(JobId job) const {
  const auto next = requests_.upper_bound(job);
  if (next == requests_.begin()) return requests_.end();
  const auto found = std::prev(next);
  return std::ranges::binary_search(found->second.jobs, job) ? found : requests_.end();
}

void Dependencies::add(const Owner& owner, std::vector<JobId> jobs, std::vector<JobId> after) {
  const JobId first = jobs.front();
  index(*requests_.emplace(first, Request{owner, std::move(jobs), std::move(after)}).first);
}

void Dependencies::remove(JobId job) {
  const auto found = find(job);
  if (found == requests_.end()) return;
  const JobId id = found->first;
  Request& request = requests_.at(id);
  erase_from(request.jobs, job);
  count(request.owner, request.after.size(), -1);
  if (!request.jobs.empty()) return;
  for (const JobId other : request.after) {
    std::vector<JobId>& requests = requests_after_.at(other);
    erase_from(requests, id);
    if (requests.empty()) requests_after_.erase(other);
  }
  requests_.erase(found);
}

std::vector<JobId> Dependencies::complete(JobId id) {
  std::vector<JobId> free;
  const auto waiting = requests_after_.extract(id);
  if (waiting.empty()) return free;
  for (const JobId first : waiting.mapped()) {
    const auto found = requests_.find(first);
    Request& request = found->second;
    erase_from(request.after, id);
    count(request.owner, request.jobs.size(), -1);
    if (!request.after.empty()) continue;
    free.insert(free.end(), request.jobs.begin(), request.jobs.end());
    requests_.erase(found);
  }
  return free;
}

const std::vector<JobId>& Dependencies::after(JobId job) const {
  static const std::vector<JobId> kNothing;
  const auto found = find(job);
  return found == requests_.end() ? kNothing : found->second.after;
}

std::vector<JobId> Dependencies::waiting_for(JobId id) const {
  std::vector<JobId> jobs;
  const auto found = requests_after_.find(id);
  if (found == requests_after_.end()) return jobs;
  for (const JobId first : found->second) {
    const Request& request = requests_.at(first);
    jobs.insert(jobs.end(), request.jobs.begin(), request.jobs.end());
  }
  return jobs;
}

std::vector<JobId> Dependencies::waiting() const {
  std::vector<JobId> jobs;
  for (const auto& [id, request] : requests_) {
    jobs.insert(jobs.end(), request.jobs.begin(), request.jobs.end());
  }
  return jobs;
}

int64_t Dependencies::pairs_of(const Owner& owner) const {
  const auto found = pairs_of_.find(owner);
  return found == pairs_of_.end() ? 0 : found->second;
}

void Dependencies::rebuild() {
  requests_after_.clear(), pairs_of_.clear(), pairs_ = 0;
  for (const auto& request : requests_) index(request);
}

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
