#include <algorithm>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

// What is kept of an ended job, about: an object in the state's text, without its own texts and
// lists, and the other places where its number stands.
constexpr int64_t kJobBytes = 905;
constexpr int64_t kNumberBytes = 8;
constexpr int64_t kRemarkBytes = 45;

/// Where too much is kept, less than that stays: it takes a while until it is too much again.
constexpr double kStays = 0.9;
/// And it is looked for no more often than this: all of it may be needed.
constexpr double kSurplusPauseSeconds = 5;

/// Old jobs are looked for so often.
double pause_seconds(const State& state) {
  return std::min(3600.0, state.options.history_seconds / 100);
}

bool has_old(const State& state, double now_seconds) {
  return now_seconds >= state.forgot_seconds + pause_seconds(state) &&
         state.ended.oldest_seconds() + state.options.history_seconds <= now_seconds;
}

bool has_surplus(const State& state, double now_seconds) {
  return state.options.history_bytes > 0 &&
         state.ended.kept_bytes() > state.options.history_bytes &&
         now_seconds >= state.forgot_seconds + kSurplusPauseSeconds;
}

/// Takes them out of State::ended.
std::set<JobId> take_forgotten(State& state) {
  const auto is_needed = [&](JobId id) { return state.dependencies.is_waited_for(id); };
  std::set<JobId> taken;
  state.ended.take_old(state.now_seconds - state.options.history_seconds, is_needed, taken);
  const int64_t most = state.options.history_bytes;
  if (most > 0 && state.ended.kept_bytes() > most) {
    state.ended.take_surplus(static_cast<int64_t>(kStays * static_cast<double>(most)), is_needed,
                             taken);
  }
  return taken;
}

/// Those of the keys that have one of the jobs; each once.
template <class IdsByKey, class Key>
void erase_from(IdsByKey& ids_by_key, const std::set<Key>& keys, const std::set<JobId>& jobs) {
  for (const Key& key : keys) {
    const auto found = ids_by_key.find(key);
    if (found == ids_by_key.end()) continue;
    std::erase_if(found->second, [&](JobId id) { return jobs.contains(id); });
    if (found->second.empty()) ids_by_key.erase(found);
  }
}

/// What a job of a sweep is named after: "lr" for "lr[3]".
std::string name_of_sweep(const std::string& name) { return name.substr(0, name.rfind('[')); }

void forget_names(State& state, const std::set<JobId>& old) {
  std::set<std::string> requests;
  std::set<std::pair<std::string, std::string>> names;
  for (const JobId id : old) {
    const Job& job = state.jobs.at(id);
    requests.insert(job.submit_id);
    names.emplace(job.request.tenant, job.request.name);
    names.emplace(job.request.tenant, name_of_sweep(job.request.name));
  }
  erase_from(state.jobs_of_request, requests, old);
  erase_from(state.jobs_by_name, names, old);
}

/// What was learnt of a kind of job stays as long as one of its jobs does, probably a new one.
void forget_pages(State& state, const std::set<JobId>& old) {
  std::set<std::string> pages, kinds;
  for (const JobId id : old) {
    const std::string& page = state.jobs.at(id).profile;
    (ProfileBook::is_shared(page) ? kinds : pages).insert(page);
  }
  for (auto next = state.jobs.rbegin(); next != state.jobs.rend() && !kinds.empty(); ++next) {
    if (!old.contains(next->first)) kinds.erase(next->second.profile);
  }
  pages.merge(kinds);
  state.profiles.forget(pages);
}

int64_t bytes_of(const std::vector<std::string>& texts) {
  int64_t bytes = 0;
  for (const std::string& text : texts) bytes += static_cast<int64_t>(text.size()) + 3;
  return bytes;
}

int64_t texts_of(const Job& job) {
  const JobRequest& request = job.request;
  // A name stands by its tenant once more.
  const size_t names = 2 * (request.name.size() + request.tenant.size());
  const size_t others = request.user.size() + request.work.kind.size() + job.submit_id.size() +
                        job.profile.size() + job.explanation.size();
  return static_cast<int64_t>(names + others) + bytes_of(request.overrides) +
         bytes_of(request.after);
}

int64_t lists_of(const Job& job) {
  size_t numbers = job.request.work.rank_counts.size() + job.rank_counts.size() + job.after.size();
  if (job.last_run) numbers += job.last_run->nodes.size();
  return kNumberBytes * static_cast<int64_t>(numbers);
}

}  // namespace

int64_t bytes_of_end(const State& state, const Job& job) {
  int64_t bytes = kJobBytes + texts_of(job) + lists_of(job);
  if (auto history = state.history.find(job.id); history != state.history.end()) {
    for (const Remark& remark : history->second) {
      bytes += kRemarkBytes + static_cast<int64_t>(remark.text.size());
    }
  }
  if (auto answer = state.acceptances.find(job.id); answer != state.acceptances.end()) {
    bytes += static_cast<int64_t>(answer->second.why.size());
  }
  return bytes;
}

bool is_forgetting_due(const State& state, double now_seconds) {
  return has_old(state, now_seconds) || has_surplus(state, now_seconds);
}

void forget_old_jobs(Round& round) {
  State& state = round.state;
  if (!is_forgetting_due(state, state.now_seconds)) return;
  state.forgot_seconds = state.now_seconds;
  const std::set<JobId> old = take_forgotten(state);
  if (old.empty()) return;
  forget_names(state, old);
  forget_pages(state, old);
  for (const JobId id : old) {
    state.resting.erase({state.jobs.at(id).not_before_seconds, id});
    state.acceptances.erase(id);
    state.history.erase(id);
    state.jobs.erase(id);
  }
  state.joules.forget_jobs(old);
  std::erase_if(state.owner_of_token, [&](const auto& run) { return old.contains(run.second); });
}

}  // namespace wattle::scheduler
