#include <algorithm>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

/// Older versions had a type for every idle draw. Types that are one now are merged, and those that
/// follow move up; nothing happens to a state of this version.
void merge_types(State& state) {
  std::vector<DeviceType> types;
  std::vector<int> number_now;
  for (const DeviceType& type : state.types) {
    const auto same = std::find_if(types.begin(), types.end(),
                                   [&](const DeviceType& t) { return is_same_type(t, type); });
    number_now.push_back(static_cast<int>(same - types.begin()));
    if (same == types.end()) types.push_back(type);
  }
  if (types.size() == state.types.size()) return;
  state.types = std::move(types);
  for (Device& device : state.devices) device.type = number_now[device.type];
  for (auto& [id, job] : state.jobs) {
    if (job.run) job.run->point.type = number_now[job.run->point.type];
    if (job.last_run) job.last_run->type = number_now[job.last_run->type];
  }
  for (PendingStart& start : state.pending_starts) start.point.type = number_now[start.point.type];
  state.profiles.renumber_types(number_now);
  state.outlook = {};  // the next plan makes another
}

void rebuild_nodes(State& state) {
  state.node_by_name.clear();
  state.lost_nodes.clear();
  state.pool = {};
  for (Node& node : state.nodes) {
    note_idle_watts(state, node);
    state.node_by_name[node.name] = node.id;
    state.pool.set_shared(node.id, node.shares_jobs_dir);
    if (node.state == NodeState::kLost) state.lost_nodes.insert(node.id);
  }
  for (size_t id = 0; id < state.devices.size(); ++id) {
    if (state.devices[id].job == 0) free_device(state, static_cast<DeviceId>(id));
  }
  count_fleet(state);
}

void rebuild_jobs(State& state) {
  state.waiting.clear(), state.running.clear();
  state.ended = {};
  state.resting.clear(), state.unended_jobs.clear();
  state.job_of_token.clear(), state.jobs_of_request.clear();
  for (auto& [id, job] : state.jobs) {
    state.jobs_of_request[job.submit_id].push_back(id);
    if (job.not_before_seconds > state.planned_seconds) {
      state.resting.emplace(job.not_before_seconds, id);
    }
    if (is_finished(job.state)) {
      // Older versions did not count it.
      if (job.kept_bytes == 0) job.kept_bytes = bytes_of_end(state, job);
      state.ended.add(job);
      continue;
    }
    state.count_unended(job, 1);
    (job.run ? state.running : state.waiting).insert(id);
    if (!job.run) continue;
    state.job_of_token[job.run->token] = id;
    // Older versions kept no joules for runs.
    if (!job.claims_since_seconds) job.claims_since_seconds = job.run->started_seconds;
  }
}

/// Older versions had the request in both.
void rebuild_acceptances(State& state) {
  for (auto& [id, accepted] : state.acceptances) {
    const auto job = state.jobs.find(id);
    if (job != state.jobs.end()) keep_acceptance(state, job->second, std::move(accepted));
  }
}

}  // namespace

void rebuild(State& state) {
  state.policy = make_policy(state.options.policy);
  state.hard_cap.adopt_windows();
  if (state.soft_cap) state.soft_cap->adopt_windows();
  merge_types(state);
  rebuild_nodes(state);
  rebuild_acceptances(state);
  rebuild_jobs(state);
  restore_dependencies(state);
  state.profiles.refit(state.types);
}

}  // namespace wattle::scheduler
