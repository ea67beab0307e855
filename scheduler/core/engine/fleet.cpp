#include <fmt/format.h>

#include <algorithm>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

std::string wrong_with(const std::vector<DeviceGroup>& groups) {
  if (groups.empty()) return "has no devices";
  for (const DeviceGroup& group : groups) {
    const DeviceType& t = group.type;
    if (group.count < 1) return fmt::format("{}: expected at least one device", t.name);
    if (!(0 <= t.idle_watts && t.idle_watts <= t.min_limit_watts &&
          t.min_limit_watts <= t.max_limit_watts && t.max_limit_watts > 0)) {
      return fmt::format("{}: expected 0 <= idle <= min <= max watts, got {}, {}, {}", t.name,
                         t.idle_watts, t.min_limit_watts, t.max_limit_watts);
    }
    if (group.safe_watts < t.idle_watts) {
      return fmt::format("{}: the safe limit ({} W) is below the idle draw ({} W)", t.name,
                         group.safe_watts, t.idle_watts);
    }
  }
  return "";
}

/// Their watts may be others: they are measured, or set by hand.
bool same_devices(const std::vector<DeviceGroup>& a, const std::vector<DeviceGroup>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.type.name == y.type.name && x.count == y.count;
  });
}

bool same_watts(const std::vector<DeviceGroup>& a, const std::vector<DeviceGroup>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.type == y.type && x.safe_watts == y.safe_watts;
  });
}

std::string words_for(const std::vector<DeviceGroup>& groups) {
  std::string text;
  for (const DeviceGroup& group : groups) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", group.count, group.type.name);
  }
  return text;
}

double idle_watts(const std::vector<DeviceGroup>& groups) {
  double watts = 0;
  for (const DeviceGroup& group : groups) watts += group.count * group.type.idle_watts;
  return watts;
}

int type_index(State& state, const DeviceType& type) {
  auto found = std::find(state.types.begin(), state.types.end(), type);
  if (found == state.types.end()) found = state.types.insert(found, type);
  return static_cast<int>(found - state.types.begin());
}

/// The same devices count with these watts from now on, as they are registered.
void take_watts(State& state, Node& node, const std::vector<DeviceGroup>& groups) {
  node.groups = groups;
  node.idle_watts = idle_watts(groups);
  node.safe_watts = 0;
  auto device = node.devices.begin();
  for (const DeviceGroup& group : groups) {
    node.safe_watts += group.count * group.safe_watts;
    const int type = type_index(state, group.type);
    for (int i = 0; i < group.count; ++i, ++device) {
      state.devices[*device].type = type;
      state.ledger.set_safe(*device, group.safe_watts);
    }
  }
}

Node& add_node(State& state, const NodeUp& event) {
  Node& node = state.nodes.emplace_back();
  node.id = static_cast<NodeId>(state.nodes.size()) - 1;
  node.name = event.node;
  state.node_by_name[node.name] = node.id;
  for (const DeviceGroup& group : event.groups) {
    for (int i = 0; i < group.count; ++i) {
      node.devices.push_back(state.ledger.add(group.type.idle_watts, group.safe_watts));
      state.devices.push_back({node.id, 0, 0});
    }
  }
  take_watts(state, node, event.groups);
  return node;
}

std::set<JobId> jobs_on(const State& state, const Node& node) {
  std::set<JobId> jobs;
  for (DeviceId device : node.devices) {
    if (state.devices[device].job > 0) jobs.insert(state.devices[device].job);
  }
  return jobs;
}

NodeShare* share_on(Job& job, NodeId node) {
  for (NodeShare& share : job.run->shares) {
    if (share.node == node && !share.gone) return &share;
  }
  return nullptr;
}

/// A run that the agent holds and the core still counts on goes on; its limit is commanded anew.
void adopt(Round& round, Job& job, const NodeShare& share, const HeldRun& held) {
  State& state = round.state;
  for (DeviceId device : share.devices) state.ledger.restate(device, held.limit_watts);
  state.joules.report(held.token, share.node, held.joules);
  job.run->issued_watts = held.limit_watts;
  state.to_adjust.insert(job.id);
  if (job.run->exit_code || job.run->killed) {
    round.decide(job.id, Kill{state.nodes[share.node].name, held.token}, "");
  } else if (job.run->phase == Run::Phase::kStopping) {
    round.decide(job.id,
                 Stop{job.id,
                      held.token,
                      job.run->stop_reason,
                      {state.nodes[share.node].name},
                      "is to be stopped already"},
                 "");
  }
}

void end_foreign(Round& round, Node& node, const HeldRun& held) {
  State& state = round.state;
  for (int index : held.devices) {
    if (index < 0 || index >= static_cast<int>(node.devices.size())) continue;
    const DeviceId device = node.devices[index];
    state.ledger.restate(device, held.limit_watts);
    state.devices[device].job = kForeignRun;
    node.foreign_runs[held.token].push_back(device);
  }
  round.decide(0, Kill{node.name, held.token}, "");
}

void settle_runs(Round& round, Node& node, const std::vector<HeldRun>& runs) {
  State& state = round.state;
  std::set<JobId> missing = jobs_on(state, node);
  for (DeviceId device : node.devices) {
    state.ledger.restate(device, state.types[state.devices[device].type].idle_watts);
  }
  std::vector<const HeldRun*> foreign;
  for (const HeldRun& held : runs) {
    state.joules.report(held.token, node.id, held.joules);
    auto found = state.job_of_token.find(held.token);
    Job* job = found == state.job_of_token.end() ? nullptr : &state.jobs.at(found->second);
    NodeShare* share = job ? share_on(*job, node.id) : nullptr;
    if (share) {
      adopt(round, *job, *share, held);
      missing.erase(job->id);
    } else {
      foreign.push_back(&held);
    }
  }
  for (JobId id : missing) end_share(round, state.jobs.at(id), node.id, std::nullopt);
  for (const HeldRun* held : foreign) end_foreign(round, node, *held);
}

void lose(Round& round, Node& node) {
  State& state = round.state;
  node.state = NodeState::kLost;
  node.lost_seconds = state.now_seconds;
  count_fleet(state);
  state.lost_nodes.insert(node.id);
  for (DeviceId device : node.devices) {
    state.pool.remove(node.id, state.devices[device].type, device);
  }
  state.note_change();
  round.decide(0, Noted{node.name, "lost: counts in full until its lease has surely run out"}, "");
}

/// Runs on devices that are of another type now are of that type, too, if that is one.
void follow_types(Round& round, const Node& node) {
  State& state = round.state;
  for (JobId id : jobs_on(state, node)) {
    Job& job = state.jobs.at(id);
    std::set<int> types;
    for (const NodeShare& share : job.run->shares) {
      for (DeviceId device : share.devices) types.insert(state.devices[device].type);
    }
    if (types.size() == 1) {
      job.run->point.type = *types.begin();
    } else {
      stop_run(round, job, Reason::kPreempted, "its nodes' devices are not alike any more");
    }
  }
}

std::string unfit(const State& state, const NodeUp& event, const Node* known) {
  if (std::string wrong = wrong_with(event.groups); !wrong.empty()) return wrong;
  if (known && event.epoch <= known->epoch) return "registers with an epoch that is not newer";
  if (known && !known->removed && !same_devices(known->groups, event.groups)) {
    return fmt::format(
        "has other devices than before ({}, not {}): take the old ones out with `wattle remove {}` "
        "while its agent is off",
        words_for(event.groups), words_for(known->groups), event.node);
  }
  // A node that comes back is counted already, and draws no more than out of reach.
  const double counted = known && !known->removed ? known->idle_watts : 0;
  const double added = idle_watts(event.groups) - counted;
  if (added > 0 && state.least_cap_watts + added > planning_cap(state, state.now_seconds)) {
    return fmt::format("its idle devices draw {:.0f} W, more than the cap leaves", added);
  }
  return "";
}

}  // namespace

void free_device(State& state, DeviceId id) {
  Device& device = state.devices[id];
  device.job = 0;
  const Node& node = state.nodes[device.node];
  if (node.state == NodeState::kUp && !node.drained) state.pool.add(device.node, device.type, id);
}

void count_fleet(State& state) {
  state.installed.assign(state.types.size(), 0);
  state.widest.assign(state.types.size(), 0);
  std::vector<int> shared(state.types.size());
  state.least_cap_watts = 0;
  for (const Node& node : state.nodes) {
    if (node.removed) continue;
    state.least_cap_watts += node.state == NodeState::kLost ? node.safe_watts : node.idle_watts;
    DeviceId first = node.devices.front();
    for (const DeviceGroup& group : node.groups) {
      const int type = state.devices[first].type;
      state.installed[type] += group.count;
      if (node.shares_jobs_dir) shared[type] += group.count;
      state.widest[type] = std::max({state.widest[type], group.count, shared[type]});
      first += group.count;
    }
  }
}

void on(Round& round, const NodeUp& event) {
  State& state = round.state;
  auto found = state.node_by_name.find(event.node);
  Node* known = found == state.node_by_name.end() ? nullptr : &state.nodes[found->second];
  if (std::string why = unfit(state, event, known); !why.empty()) {
    round.decide(0, Refused{event.node, why, std::nullopt}, "");
    return;
  }
  // What was removed and comes back as something else is a node of its own; the old one stays away.
  const bool is_another = known && !same_devices(known->groups, event.groups);
  Node& node = known && !is_another ? *known : add_node(state, event);
  for (DeviceId device : node.devices) {
    state.pool.remove(node.id, state.devices[device].type, device);
    if (state.devices[device].job == kForeignRun) state.devices[device].job = 0;
  }
  node.foreign_runs.clear();
  const bool has_new_watts = !same_watts(node.groups, event.groups);
  if (has_new_watts) take_watts(state, node, event.groups);
  node.epoch = event.epoch;
  node.shares_jobs_dir = event.shares_jobs_dir;
  state.pool.set_shared(node.id, node.shares_jobs_dir);
  node.state = NodeState::kUp;
  node.lease_seconds = state.options.lease_seconds;
  node.orphan_grace_seconds = state.options.orphan_grace_seconds;
  node.removed = node.fell_safe = false;
  count_fleet(state);
  state.lost_nodes.erase(node.id);
  settle_runs(round, node, event.runs);
  if (has_new_watts) follow_types(round, node);
  for (DeviceId device : node.devices) {
    state.pool.remove(node.id, state.devices[device].type, device);
    if (state.devices[device].job == 0) free_device(state, device);
  }
  state.note_change();
  round.decide(0, Noted{node.name, fmt::format("registered with {} devices", node.devices.size())},
               "");
}

void on(Round& round, const NodeLost& event) {
  State& state = round.state;
  if (Node* node = live_node(state, event.node, event.epoch)) lose(round, *node);
}

void on(Round& round, const Restarted&) {
  State& state = round.state;
  for (Node& node : state.nodes) {
    if (node.state == NodeState::kUp) lose(round, node);
    if (node.state == NodeState::kLost) node.lost_seconds = state.now_seconds;
  }
}

namespace {

void give_up(Round& round, Node& node) {
  State& state = round.state;
  node.state = NodeState::kDown;
  state.lost_nodes.erase(node.id);
  for (JobId id : jobs_on(state, node)) end_share(round, state.jobs.at(id), node.id, std::nullopt);
  for (auto& [token, devices] : node.foreign_runs) {
    for (DeviceId device : devices) free_device(state, device);
  }
  node.foreign_runs.clear();
  state.note_change();
}

/// From then on a lost node is surely at its safe limits.
double lease_end(const State& state, const Node& node) {
  return node.lost_seconds + node.lease_seconds + state.options.clock_margin_seconds;
}

/// And from then on surely without runs.
double orphans_end(const State& state, const Node& node) {
  return lease_end(state, node) + node.orphan_grace_seconds;
}

}  // namespace

bool is_expiry_due(const State& state, double now_seconds) {
  return std::any_of(state.lost_nodes.begin(), state.lost_nodes.end(), [&](NodeId id) {
    const Node& node = state.nodes[id];
    return now_seconds >= (node.fell_safe ? orphans_end(state, node) : lease_end(state, node));
  });
}

void expire_leases(Round& round) {
  State& state = round.state;
  const std::set<NodeId> lost = state.lost_nodes;
  for (NodeId id : lost) {
    Node& node = state.nodes[id];
    if (state.now_seconds < lease_end(state, node)) continue;
    if (!node.fell_safe) {
      for (DeviceId device : node.devices) state.ledger.fall_to_safe(device);
      node.fell_safe = true;
      state.note_change();
    }
    if (state.now_seconds < orphans_end(state, node)) continue;
    give_up(round, node);
    for (DeviceId device : node.devices) {
      state.ledger.park(device, state.types[state.devices[device].type].idle_watts);
    }
    count_fleet(state);
    round.decide(0, Noted{node.name, "down: its runs have surely ended, its devices are idle"}, "");
  }
}

void on(Round& round, const NodeRemoved& event) {
  State& state = round.state;
  auto found = state.node_by_name.find(event.node);
  if (found == state.node_by_name.end() || state.nodes[found->second].state == NodeState::kUp) {
    round.decide(0,
                 Refused{event.node, "is up, or unknown: only a node that is off can be removed",
                         std::nullopt},
                 "");
    return;
  }
  Node& node = state.nodes[found->second];
  give_up(round, node);
  for (DeviceId device : node.devices) state.ledger.remove(device);
  node.removed = true;
  count_fleet(state);
  round.decide(0, Noted{node.name, "removed: its watts are free"}, "");
}

}  // namespace wattle::scheduler
