#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

void rebuild_nodes(State& state) {
  state.node_by_name.clear();
  state.lost_nodes.clear();
  state.pool = {};
  for (const Node& node : state.nodes) {
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
  state.waiting.clear(), state.running.clear(), state.dependent.clear();
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
    if (job.run) state.job_of_token[job.run->token] = id;
    if (!job.after.empty()) state.dependent.insert(id);
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
  rebuild_nodes(state);
  rebuild_acceptances(state);
  rebuild_jobs(state);
  state.profiles.refit(state.types);
}

}  // namespace wattle::scheduler
