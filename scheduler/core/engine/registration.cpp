#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/job_spec.h"
#include "common/text.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

/// For so long after it has asked, room is kept for a node that waits: agents ask again after some
/// seconds.
constexpr double kJoiningSeconds = 15;

std::string wrong_with(const std::vector<DeviceGroup>& groups) {
  if (groups.empty()) return "has no devices";
  int64_t devices = 0;
  for (const DeviceGroup& group : groups) {
    const DeviceType& t = group.type;
    devices += group.count;
    if (group.count < 1 || devices > kMostNodeDevices) {
      return fmt::format("{}: expected at least one device, and at most {} of all types, got {}",
                         t.name, kMostNodeDevices, group.count < 1 ? group.count : devices);
    }
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

int type_index(State& state, const DeviceType& type) {
  auto found = std::find_if(state.types.begin(), state.types.end(),
                            [&](const DeviceType& known) { return is_same_type(known, type); });
  if (found == state.types.end()) found = state.types.insert(found, type);
  return static_cast<int>(found - state.types.begin());
}

/// The same devices count with these watts from now on, as they are registered.
void take_watts(State& state, Node& node, const std::vector<DeviceGroup>& groups) {
  node.groups = groups;
  node.safe_watts = 0;
  note_idle_watts(state, node);
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

/// A run that the agent holds and the core still counts on goes on; its limit is commanded anew.
void adopt(Round& round, Job& job, const NodeShare& share, const HeldRun& held) {
  State& state = round.state;
  for (DeviceId device : share.devices) state.ledger.restate(device, held.limit_watts);
  state.joules.report(held.token, share.node, held.joules);
  job.run->issued_watts = issued_watts(state, *job.run);
  state.to_adjust.insert(job.id);
  const std::string& node = state.nodes[share.node].name;
  if (const double lease = state.joules.leased(held.token, share.node); lease > 0) {
    round.decide(job.id, LeaseJoules{job.id, held.token, node, lease}, "");
  }
  if (job.run->exit_code || job.run->killed) {
    round.decide(job.id, Kill{node, held.token}, "");
  } else if (job.run->phase == Run::Phase::kStopping) {
    round.decide(job.id,
                 Stop{job.id, held.token, job.run->stop_reason, {node}, "is to be stopped already"},
                 "");
  }
}

/// A device that a run of ours has now is no more the foreign one's, which has ended there.
void end_foreign(Round& round, Node& node, const HeldRun& held) {
  State& state = round.state;
  node.foreign_runs[held.token];
  for (int index : held.devices) {
    if (index < 0 || index >= static_cast<int>(node.devices.size())) continue;
    const DeviceId device = node.devices[index];
    if (state.devices[device].job > 0) continue;
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
    state.ledger.restate(device, state.devices[device].idle_watts);
  }
  std::vector<const HeldRun*> foreign;
  for (const HeldRun& held : runs) {
    report_joules(round, held.token, node, held.joules);
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

/// Why a registration can never be taken; "" if it can.
std::string unfit(const State& state, const NodeUp& event, const Node* known) {
  if (std::string wrong = wrong_with(event.groups); !wrong.empty()) return wrong;
  if (known && event.epoch <= known->epoch) return "registers with an epoch that is not newer";
  if (known && !known->removed && !same_devices(known->groups, event.groups)) {
    return fmt::format(
        "has other devices than before ({}, not {}): take the old ones out with `wattle remove {}` "
        "while its agent is off",
        words_for(event.groups), words_for(known->groups), event.node);
  }
  const double counted = known && !known->removed ? known->idle_watts : 0;
  const double added = counted_idle_watts(event.groups) - counted;
  double others = 0;
  for (const Node& node : state.nodes) {
    if (!node.removed && &node != known) others += node.idle_watts;
  }
  const double least = state.hard_cap.lowest(state.now_seconds, kForever);
  if (added <= 0 || counted + added + others <= least) return "";
  const bool is_later = least < state.hard_cap.at(state.now_seconds);
  return fmt::format(
      "its idle devices draw {:.0f} W, with those of all other nodes {:.0f} W, more than the cap "
      "of "
      "{:.0f} W{} leaves",
      counted_idle_watts(event.groups), counted + added + others, least,
      is_later ? " that is set for later" : "");
}

/// Whether what the newer agent does not hold has ended, for it looks after all that the one before
/// did: it is in the same folder of the same machine, which has not been started anew.
bool is_successor(const Node& node, const NodeUp& event) {
  return !event.work_dir_id.empty() && !event.boot_id.empty() &&
         event.work_dir_id == node.work_dir_id && event.boot_id == node.boot_id;
}

/// The runs that count on the node and that its agent does not name, in words.
std::string missing_runs(const State& state, const Node& node, const NodeUp& event) {
  const auto is_held = [&](Token token) {
    return std::any_of(event.runs.begin(), event.runs.end(),
                       [&](const HeldRun& held) { return held.token == token; });
  };
  std::string text;
  for (JobId id : jobs_on(state, node)) {
    if (is_held(state.jobs.at(id).run->token)) continue;
    text += fmt::format("{}job {}", text.empty() ? "" : ", ", id);
  }
  for (const auto& [token, devices] : node.foreign_runs) {
    if (!is_held(token)) text += fmt::format("{}run {}", text.empty() ? "" : ", ", token);
  }
  return text;
}

/// By how much the sum of what may be in force grows when the registration is taken.
double added_watts(const State& state, const NodeUp& event, const Node* known) {
  std::vector<double> watts;
  for (const DeviceGroup& group : event.groups) {
    watts.insert(watts.end(), static_cast<size_t>(group.count), group.type.idle_watts);
  }
  for (const HeldRun& held : event.runs) {
    for (int index : held.devices) {
      if (index < 0 || index >= static_cast<int>(watts.size())) continue;
      watts[static_cast<size_t>(index)] = held.limit_watts;
    }
  }
  double added = 0;
  for (double each : watts) added += CapLedger::counted(each);
  if (known && same_devices(known->groups, event.groups)) {
    for (DeviceId device : known->devices) {
      added -= CapLedger::counted(state.ledger.possible_watts(device));
    }
  }
  return added;
}

/// The cap must have room, beside what is kept for others that wait.
bool has_room(const State& state, const std::string& node, double added) {
  const auto kept = state.joining.find(node);
  const double own = kept == state.joining.end() ? 0 : kept->second.watts;
  return added <= kRoundingWatts ||
         state.ledger.possible_watts() + added <=
             planning_cap(state, state.now_seconds) + own + kRoundingWatts;
}

/// Room is made where idle devices and nodes out of reach leave any.
void keep_room(State& state, const std::string& node, double added) {
  const bool lacks_room = !has_room(state, node, added);
  state.joining.erase(node);
  if (!lacks_room) return;
  if (state.least_cap_watts + added > planning_cap(state, state.now_seconds)) return;
  state.joining[node] = {added, state.now_seconds + kJoiningSeconds};
}

}  // namespace

std::string must_wait(const State& state, const NodeUp& event) {
  const auto found = state.node_by_name.find(event.node);
  const Node* known = found == state.node_by_name.end() ? nullptr : &state.nodes[found->second];
  if (known && !is_successor(*known, event)) {
    if (const std::string runs = missing_runs(state, *known, event); !runs.empty()) {
      return fmt::format(
          "{} of the agent before may still run, for this one is not in its work_dir: waits until "
          "{}",
          runs,
          known->state == NodeState::kLost ? time_text(std::ceil(orphans_end(state, *known)))
                                           : "that one is lost and its lease has run out");
    }
  }
  if (has_room(state, event.node, added_watts(state, event, known))) return "";
  return fmt::format("waits until the cap has room for the {:.0f} W of its idle devices",
                     counted_idle_watts(event.groups));
}

void on(Round& round, const NodeUp& event) {
  State& state = round.state;
  auto found = state.node_by_name.find(event.node);
  Node* known = found == state.node_by_name.end() ? nullptr : &state.nodes[found->second];
  if (std::string why = unfit(state, event, known); !why.empty()) {
    state.joining.erase(event.node);
    round.decide(0, Refused{event.node, why, std::nullopt}, "");
    return;
  }
  if (std::string why = must_wait(state, event); !why.empty()) {
    keep_room(state, event.node, added_watts(state, event, known));
    round.decide(0, Deferred{event.node, why}, "");
    return;
  }
  state.joining.erase(event.node);
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
  node.work_dir_id = event.work_dir_id;
  node.boot_id = event.boot_id;
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

}  // namespace wattle::scheduler
