#include <algorithm>
#include <iterator>
#include <string_view>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

/// Old jobs are looked for so often.
double pause_seconds(const State& state) {
  return std::min(3600.0, state.options.history_seconds / 100);
}

std::set<JobId> old_jobs(const State& state) {
  std::set<JobId> old;
  for (const auto& [ended_seconds, id] : state.ended) {
    if (ended_seconds + state.options.history_seconds > state.now_seconds) break;
    if (!state.dependencies.is_waited_for(id)) old.insert(id);
  }
  return old;
}

template <class IdsByKey>
void erase_from(IdsByKey& ids_by_key, const std::set<JobId>& jobs) {
  for (auto next = ids_by_key.begin(); next != ids_by_key.end();) {
    std::erase_if(next->second, [&](JobId id) { return jobs.contains(id); });
    next = next->second.empty() ? ids_by_key.erase(next) : std::next(next);
  }
}

/// What was learnt of a kind of job stays as long as one of its jobs does.
void keep_pages(State& state) {
  std::set<std::string_view> pages;
  for (const auto& [id, job] : state.jobs) pages.insert(job.profile);
  state.profiles.keep_only(pages);
}

}  // namespace

bool is_forgetting_due(const State& state, double now_seconds) {
  return !state.ended.empty() && now_seconds >= state.forgot_seconds + pause_seconds(state) &&
         state.ended.begin()->first + state.options.history_seconds <= now_seconds;
}

void forget_old_jobs(Round& round) {
  State& state = round.state;
  if (!is_forgetting_due(state, state.now_seconds)) return;
  state.forgot_seconds = state.now_seconds;
  const std::set<JobId> old = old_jobs(state);
  for (const JobId id : old) {
    const Job& job = state.jobs.at(id);
    state.ended.erase({job.ended_seconds, id});
    state.joules.forget_job(id);
    state.acceptances.erase(id);
    state.history.erase(id);
    state.jobs.erase(id);
  }
  keep_pages(state);
  erase_from(state.jobs_of_request, old);
  erase_from(state.jobs_by_name, old);
  std::erase_if(state.owner_of_token, [&](const auto& run) { return old.contains(run.second); });
}

}  // namespace wattle::scheduler
