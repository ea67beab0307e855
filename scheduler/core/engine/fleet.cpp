#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/text.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

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

}  // namespace

std::set<JobId> jobs_on(const State& state, const Node& node) {
  std::set<JobId> jobs;
  for (DeviceId device : node.devices) {
    if (state.devices[device].job > 0) jobs.insert(state.devices[device].job);
  }
  return jobs;
}

const NodeShare* share_on(const Job& job, NodeId node) {
  for (const NodeShare& share : job.run->shares) {
    if (share.node == node && !share.gone) return &share;
  }
  return nullptr;
}

NodeShare* share_on(Job& job, NodeId node) {
  return const_cast<NodeShare*>(share_on(std::as_const(job), node));
}

bool holds(const State& state, Token token, const std::string& node) {
  const auto job = state.job_of_token.find(token);
  const auto found = state.node_by_name.find(node);
  return job != state.job_of_token.end() && found != state.node_by_name.end() &&
         share_on(state.jobs.at(job->second), found->second) != nullptr;
}

bool may_report(const State& state, Token token, const std::string& node) {
  const auto found = state.node_by_name.find(node);
  return found != state.node_by_name.end() && state.joules.has_share(token, found->second);
}

bool in_reach(const State& state, const NodeShare& share) {
  return !share.gone && state.nodes[share.node].state == NodeState::kUp;
}

double issued_watts(const State& state, const NodeShare& share) {
  return state.ledger.issued_watts(share.devices.front());
}

double issued_watts(const State& state, const Run& run) {
  double watts = 0;
  for (const NodeShare& share : run.shares) {
    if (!share.gone) watts = std::max(watts, issued_watts(state, share));
  }
  return watts;
}

void free_device(State& state, DeviceId id) {
  Device& device = state.devices[id];
  device.job = 0;
  const Node& node = state.nodes[device.node];
  if (node.state == NodeState::kUp && !node.drained) state.pool.add(device.node, device.type, id);
}

double counted_idle_watts(const std::vector<DeviceGroup>& groups) {
  double watts = 0;
  for (const DeviceGroup& group : groups) {
    watts += group.count * CapLedger::counted(group.type.idle_watts);
  }
  return watts;
}

bool all_can_run(const State& state, const std::vector<int>& devices, double watts) {
  for (size_t type = 0; type < devices.size(); ++type) {
    watts -= devices[type] * state.types[type].min_limit_watts;
  }
  return watts >= -kRoundingWatts;
}

void note_idle_watts(State& state, Node& node) {
  node.idle_watts = counted_idle_watts(node.groups);
  auto device = node.devices.begin();
  for (const DeviceGroup& group : node.groups) {
    const double watts = CapLedger::counted(group.type.idle_watts);
    for (int i = 0; i < group.count; ++i, ++device) state.devices[*device].idle_watts = watts;
  }
}

namespace {

/// A type of which nothing is installed keeps the idle watts that it had.
void count_idle_watts(State& state, int type, int count, double watts, bool is_up) {
  IdleDraw& draw = state.idle_draws[type];
  double& lowest = state.types[type].idle_watts;
  lowest = state.installed[type] == 0 ? watts : std::min(lowest, watts);
  draw.highest_watts = std::max(draw.highest_watts, watts);
  if (!is_up) return;
  state.up[type] += count;
  draw.up_watts += count * watts;
}

}  // namespace

void count_fleet(State& state) {
  const std::vector<DeviceType> before = state.types;
  state.installed.assign(state.types.size(), 0);
  state.up.assign(state.types.size(), 0);
  state.widest.assign(state.types.size(), 0);
  state.idle_draws.assign(state.types.size(), {});
  std::vector<int> shared(state.types.size());
  state.least_cap_watts = 0;
  for (const Node& node : state.nodes) {
    if (node.removed) continue;
    state.least_cap_watts += node.state == NodeState::kLost ? node.safe_watts : node.idle_watts;
    DeviceId first = node.devices.front();
    for (const DeviceGroup& group : node.groups) {
      const int type = state.devices[first].type;
      count_idle_watts(state, type, group.count, state.devices[first].idle_watts,
                       node.state == NodeState::kUp);
      state.installed[type] += group.count;
      if (node.shares_jobs_dir) shared[type] += group.count;
      state.widest[type] = std::max({state.widest[type], group.count, shared[type]});
      first += group.count;
    }
  }
  for (size_t type = 0; type < state.types.size(); ++type) {
    state.types[type].is_installed = state.installed[type] > 0;
  }
  const auto idle_watts = [](const DeviceType& type) { return type.idle_watts; };
  if (!std::ranges::equal(before, state.types, {}, idle_watts, idle_watts)) {
    state.profiles.refit(state.types);
  }
}

void on(Round& round, const NodeLost& event) {
  State& state = round.state;
  if (Node* node = live_node(state, event.node, event.epoch)) lose(round, *node);
}

namespace {

/// Agents drop what has an older number than they have seen, and runs of other numbers are not
/// theirs: where this state is an older copy, or a new one beside agents of another, its numbers
/// have to lie beyond those that were given since. Nobody gives a thousand a second on average.
void skip_numbers_of_others(State& state) {
  constexpr double kFirstSeconds = 1.6e9, kNumbersASecond = 1000;
  const auto least = static_cast<int64_t>(
      std::max(0.0, std::floor((state.now_seconds - kFirstSeconds) * kNumbersASecond)));
  state.last_token = std::max<Token>(state.last_token, least);
  state.ledger.skip_to(least);
}

}  // namespace

void on(Round& round, const Restarted&) {
  State& state = round.state;
  skip_numbers_of_others(state);
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

/// So many seconds of an agent's clock have passed by then, whatever its clock and ours did.
double surely_after(const State& state, const Node& node, double seconds) {
  const CoreOptions& options = state.options;
  return node.lost_seconds + seconds * (1 + options.clock_slew) + options.clock_margin_seconds;
}

}  // namespace

double lease_end(const State& state, const Node& node) {
  return surely_after(state, node, node.lease_seconds);
}

double orphans_end(const State& state, const Node& node) {
  return surely_after(state, node, node.lease_seconds + node.orphan_grace_seconds);
}

bool is_expiry_due(const State& state, double now_seconds) {
  return std::any_of(state.lost_nodes.begin(), state.lost_nodes.end(), [&](NodeId id) {
    const Node& node = state.nodes[id];
    return now_seconds >= (node.fell_safe ? orphans_end(state, node) : lease_end(state, node));
  });
}

void expire_leases(Round& round) {
  State& state = round.state;
  std::erase_if(state.joining,
                [&](const auto& entry) { return state.now_seconds >= entry.second.until_seconds; });
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
      state.ledger.park(device, state.devices[device].idle_watts);
    }
    count_fleet(state);
    round.decide(0, Noted{node.name, "down: its runs have surely ended, its devices are idle"}, "");
  }
}

namespace {

std::string may_still_run(const State& state, const Node& node) {
  return fmt::format(
      "{} is out of reach and may hold its watts and runs until {}, when its lease "
      "and the grace after it have surely run out: remove it then, or with --force if you know "
      "that the machine is off",
      node.name, time_text(std::ceil(orphans_end(state, node))));
}

}  // namespace

void on(Round& round, const NodeRemoved& event) {
  State& state = round.state;
  const auto refuse = [&](const std::string& why) {
    round.decide(0, Refused{event.node, why, std::nullopt}, "");
  };
  auto found = state.node_by_name.find(event.node);
  if (found == state.node_by_name.end()) return refuse("there is no node " + event.node);
  Node& node = state.nodes[found->second];
  if (node.state == NodeState::kUp) {
    return refuse(event.node +
                  " is up: only a node that is off can be removed; to keep jobs from "
                  "it, drain it");
  }
  if (node.state == NodeState::kLost && !event.force) {
    refuse(may_still_run(state, node));
    return;
  }
  give_up(round, node);
  for (DeviceId device : node.devices) state.ledger.remove(device);
  node.removed = true;
  state.joining.erase(node.name);
  count_fleet(state);
  round.decide(0, Noted{node.name, "removed: its watts are free"}, "");
}

}  // namespace wattle::scheduler
