#include "scheduler/core/jobs/dependencies.h"

#include <algorithm>

namespace wattle::scheduler {
namespace {

void erase_from(std::vector<JobId>& ascending, JobId id) {
  const auto found = std::ranges::lower_bound(ascending, id);
  if (found != ascending.end() && *found == id) ascending.erase(found);
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

}  // namespace wattle::scheduler
