#include "tests/scheduler/core/fake_cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "scheduler/core/journal/journal.h"

namespace wattle::scheduler {

FakeCluster::FakeCluster(const CoreOptions& options, uint64_t seed) : core(options), random_(seed) {
  speed = [](JobId, int ranks, double limit) {
    return std::pow(ranks, 0.9) * std::cbrt(std::max(0.0, limit - 30) / 220);
  };
  draw = [](JobId, double limit) { return 0.95 * limit; };
  after(1, [this] { second(); });
}

double FakeCluster::uniform(double low, double high) {
  return low + (high - low) * static_cast<double>(random_() >> 11) * 0x1.0p-53;
}

void FakeCluster::after(double seconds, std::function<void()> action) {
  moments_.push({now_ + seconds, order_++, std::move(action)});
}

std::vector<Decision> FakeCluster::apply(decltype(Event::body) body) {
  const Event event{now_, std::move(body)};
  std::vector<Decision> decisions = core.apply(event);
  if (const auto* up = std::get_if<NodeUp>(&event.body); up && up->node == knocking_) {
    answer(agents_.at(knocking_), *up, decisions);
  }
  if (keep_journal) event_lines.push_back(to_line(event));
  for (const Decision& decision : decisions) {
    if (keep_journal) decision_lines.push_back(to_line(decision));
    deliver(decision);
  }
  if (check) check();
  if (std::holds_alternative<CapSet>(event.body)) plan_if_due();
  return decisions;
}

void FakeCluster::plan_if_due() {
  if (is_planning_ || !core.is_plan_due(now_)) return;
  Planned plan = make_plan(core.request_plan(now_));
  if (planning_seconds <= 0) {
    apply(std::move(plan));
    return;
  }
  is_planning_ = true;
  after(uniform(0, planning_seconds), [this, plan = std::move(plan)] {
    is_planning_ = false;
    apply(plan);
  });
}

void FakeCluster::add_node(const std::string& name, const DeviceGroup& group) {
  Agent& agent = agents_[name];
  agent.name = name;
  agent.group = group;
  knock(name);
}

void FakeCluster::knock(const std::string& node) {
  Agent& agent = agents_.at(node);
  agent.is_waiting = true;
  fall_back(agent);
  NodeUp up{node, ++agent.epoch, {agent.group}, {}, shares_jobs_dir};
  DeviceType& type = up.groups.front().type;
  type.idle_watts = agent.measured_idle_watts.value_or(type.idle_watts);
  up.work_dir_id = fmt::format("{} {}", node, agent.place);
  up.boot_id = "boot";
  for (const auto& [token, held] : agent.runs) {
    up.runs.push_back({token, held.devices, held.limit, held.joules});
  }
  knocking_ = node;
  apply(up);
  knocking_.clear();
}

/// Before anything else of what the core has decided.
void FakeCluster::answer(Agent& agent, const NodeUp& up, const std::vector<Decision>& decisions) {
  const auto is_about_it = [&](const Decision& decision, auto* as, auto name) {
    const auto* found = std::get_if<std::remove_pointer_t<decltype(as)>>(&decision);
    return found && (*found).*name == up.node;
  };
  bool is_taken = true;
  for (const Decision& decision : decisions) {
    const bool is_deferred =
        is_about_it(decision, static_cast<Deferred*>(nullptr), &Deferred::node);
    is_taken = is_taken && !is_deferred &&
               !is_about_it(decision, static_cast<Refused*>(nullptr), &Refused::what);
    if (is_deferred) {
      after(uniform(0.5, 4), [this, node = up.node] {
        if (agents_.at(node).is_waiting) knock(node);
      });
    }
  }
  if (!is_taken) return;
  agent.group = up.groups.front();
  agent.is_waiting = false;
  agent.counts = agent.connected = true;
  agent.last_delivery = now_;
}

JobId FakeCluster::submit(const std::string& name, int min_ranks, int max_ranks, double units,
                          const std::function<void(Submit&)>& edit) {
  Submit submit;
  submit.request_id = fmt::format("request of {}", name);
  submit.name = name;
  submit.spec.tenant = "team-a";
  submit.spec.ranks = {min_ranks, max_ranks};
  submit.work.units = units;
  submit.work.units_per_second = 1;
  if (edit) edit(submit);
  for (const Decision& decision : apply(submit)) {
    const auto* accepted = std::get_if<Accepted>(&decision);
    if (accepted) progress_[accepted->job].total = units;
    if (accepted) return accepted->job;
  }
  return 0;
}

void FakeCluster::run(double seconds) {
  const double until = now_ + seconds;
  while (!moments_.empty() && moments_.top().seconds <= until) {
    const Moment moment = moments_.top();
    moments_.pop();
    now_ = moment.seconds;
    moment.action();
    if (check) check();
  }
  now_ = until;
}

bool FakeCluster::run_until_idle(double most_seconds) {
  for (double passed = 0; passed < most_seconds; passed += 10) {
    run(10);
    const auto& jobs = core.state().jobs;
    if (std::all_of(jobs.begin(), jobs.end(),
                    [](const auto& entry) { return is_finished(entry.second.state); })) {
      return true;
    }
  }
  return false;
}

void FakeCluster::to_agent(const std::string& node, bool ordered,
                           std::function<void(Agent&)> action) {
  Agent& agent = agents_.at(node);
  if (!agent.connected) return;
  double at = now_ + delay();
  if (ordered) at = agent.last_delivery = std::max(at, agent.last_delivery);
  after(at - now_, [this, node, epoch = agent.epoch, action = std::move(action)] {
    Agent& agent = agents_.at(node);
    if (agent.connected && agent.epoch == epoch) action(agent);
  });
}

template <class Message>
void FakeCluster::to_core(const Agent& agent, Message message) {
  if (!agent.connected) return;
  message.node = agent.name;
  message.epoch = agent.epoch;
  // What is under way when a stream breaks is lost with it.
  after(delay(), [this, message] {
    const Agent& agent = agents_.at(message.node);
    if (agent.connected && agent.epoch == message.epoch) apply(message);
  });
}

void FakeCluster::deliver(const Decision& decision) {
  if (const auto* start = std::get_if<Start>(&decision)) {
    starts_[start->token] = *start;
    for (const StartShare& share : start->shares) {
      to_agent(share.node, true,
               [this, start = *start, share](Agent& a) { this->start(a, start, share); });
    }
  } else if (const auto* limit = std::get_if<SetLimit>(&decision)) {
    if (uniform(0, 1) < network.loss) return;
    to_agent(limit->node, false, [this, limit = *limit](Agent& agent) {
      auto held = agent.runs.find(limit.token);
      if (held == agent.runs.end() || deaf.contains(held->second.job)) return;
      if (limit.sequence > held->second.applied) {
        held->second.applied = limit.sequence;
        held->second.limit = limit.limit_watts;
      }
      if (uniform(0, 1) >= network.loss) to_core(agent, LimitAcknowledged{"", 0, limit.sequence});
    });
  } else if (const auto* stop = std::get_if<Stop>(&decision)) {
    for (const std::string& node : stop->nodes) {
      to_agent(node, true, [this, token = stop->token](Agent&) {
        after(checkpoint_seconds, [this, token] { end_run(token, kExitStopped); });
      });
    }
  } else if (const auto* kill = std::get_if<Kill>(&decision)) {
    to_agent(kill->node, true,
             [this, token = kill->token](Agent& agent) { exit_share(agent, token, 137); });
  } else if (const auto* lease = std::get_if<LeaseJoules>(&decision)) {
    to_agent(lease->node, true, [token = lease->token, joules = lease->joules](Agent& agent) {
      if (auto held = agent.runs.find(token); held != agent.runs.end()) {
        held->second.joules_lease = joules;
      }
    });
  }
}

void FakeCluster::start(Agent& agent, const Start& start, const StartShare& share) {
  if (!start_fault.empty()) {
    to_core(agent,
            JobExited{"", 0, start.token, 127, 0, true, start_fault_is_the_nodes, start_fault});
    return;
  }
  Held held;
  held.job = start.job;
  held.devices = share.devices;
  held.limit = start.limit_watts;
  held.applied = share.sequence;
  agent.runs[start.token] = held;
  if (uniform(0, 1) >= network.loss) to_core(agent, LimitAcknowledged{"", 0, share.sequence});
  if (share.node == start.shares.front().node) to_core(agent, JobStarted{"", 0, start.token});
}

/// Ranks of a run end everywhere that can be reached; a share that is cut off ends with its lease.
void FakeCluster::end_run(Token token, int exit_code) {
  for (auto& [name, agent] : agents_) exit_share(agent, token, exit_code);
}

void FakeCluster::exit_share(Agent& agent, Token token, int exit_code) {
  auto held = agent.runs.find(token);
  if (held == agent.runs.end()) return;
  JobExited exited{"", 0, token, exit_code, held->second.joules};
  agent.runs.erase(held);
  to_core(agent, exited);
}

bool FakeCluster::whole(Token token) const {
  const Start& start = starts_.at(token);
  return std::all_of(start.shares.begin(), start.shares.end(), [&](const StartShare& share) {
    return agents_.at(share.node).runs.contains(token);
  });
}

void FakeCluster::progress_jobs() {
  std::map<Token, int> done;
  for (auto& [name, agent] : agents_) {
    for (auto& [token, held] : agent.runs) {
      const Start& start = starts_.at(token);
      const double watts = draw(held.job, held.limit) * static_cast<double>(held.devices.size());
      held.joules += watts;
      Measured measured{"", 0, token, held.limit, watts, held.joules, {}, {}};
      if (held.joules > held.joules_lease) done[token] = kExitStopped;
      if (name == start.shares.front().node) {
        if (whole(token)) {
          Progress& progress = progress_[held.job];
          const double rate = speed(held.job, start.ranks, held.limit);
          progress.units += rate;
          measured.units = progress.units;
          measured.units_per_second = rate;
          if (progress.units >= progress.total) done[token] = kExitDone;
        }
      }
      to_core(agent, measured);
    }
  }
  for (const auto& [token, code] : done) end_run(token, code);
}

void FakeCluster::fall_back(Agent& agent) {
  for (Orphan& orphan : agent.orphans) {
    if (now_ >= orphan.lease_end) {
      orphan.held.limit = std::min(orphan.held.limit, agent.group.safe_watts);
    }
  }
  std::erase_if(agent.orphans, [&](const Orphan& orphan) { return now_ >= orphan.orphans_end; });
  if (agent.connected) return;
  if (now_ >= agent.lease_end) {
    for (auto& [token, held] : agent.runs)
      held.limit = std::min(held.limit, agent.group.safe_watts);
  }
  if (now_ >= agent.orphans_end) agent.runs.clear();
}

void FakeCluster::second() {
  for (auto& [name, agent] : agents_) {
    fall_back(agent);
  }
  progress_jobs();
  if (core.is_tick_due(now_)) apply(Tick{});
  plan_if_due();
  after(1, [this] { second(); });
}

void FakeCluster::cut_off(const std::string& node) {
  Agent& agent = agents_.at(node);
  agent.is_waiting = false;
  if (!agent.connected) return;
  agent.connected = false;
  const double noticed = uniform(0, 3);
  const CoreOptions& options = core.state().options;
  agent.lease_end = now_ + noticed + uniform(0, options.lease_seconds);
  agent.orphans_end = agent.lease_end + uniform(0, options.orphan_grace_seconds);
  after(agent.lease_end - now_, [this, node] { fall_back(agents_.at(node)); });
  after(agent.orphans_end - now_, [this, node] { fall_back(agents_.at(node)); });
  after(noticed, [this, node, epoch = agent.epoch] { apply(NodeLost{node, epoch}); });
}

void FakeCluster::power_off(const std::string& node) {
  cut_off(node);
  agents_.at(node).runs.clear();
}

void FakeCluster::reconnect(const std::string& node) {
  if (agents_.contains(node) && !agents_.at(node).connected && !agents_.at(node).is_waiting) {
    knock(node);
  }
}

void FakeCluster::measure_idle(const std::string& node, double watts_each) {
  agents_.at(node).measured_idle_watts = watts_each;
}

void FakeCluster::start_elsewhere(const std::string& node) {
  cut_off(node);
  Agent& agent = agents_.at(node);
  for (const auto& [token, held] : agent.runs) {
    agent.orphans.push_back({token, held, agent.lease_end, agent.orphans_end});
  }
  agent.runs.clear();
  ++agent.place;
  after(uniform(0, 2), [this, node] { reconnect(node); });
}

void FakeCluster::remove(const std::string& node) {
  if (!agents_.contains(node) || agents_.at(node).connected) return;
  const bool counted = std::exchange(agents_.at(node).counts, false);
  for (const Decision& decision : apply(NodeRemoved{node})) {
    const auto* refused = std::get_if<Refused>(&decision);
    if (refused && refused->what == node) agents_.at(node).counts = counted;
  }
}

double FakeCluster::in_force_watts() const {
  double watts = 0;
  for (const auto& [name, agent] : agents_) {
    int busy = 0;
    const auto add = [&](const Held& held) {
      watts += held.limit * static_cast<double>(held.devices.size());
      busy += static_cast<int>(held.devices.size());
    };
    for (const auto& [token, held] : agent.runs) add(held);
    for (const Orphan& orphan : agent.orphans) add(orphan.held);
    if (agent.counts) watts += std::max(0, agent.group.count - busy) * agent.group.type.idle_watts;
  }
  return watts;
}

int FakeCluster::live_runs(JobId job) const {
  std::set<Token> tokens;
  for (const auto& [name, agent] : agents_) {
    for (const auto& [token, held] : agent.runs) {
      if (held.job == job) tokens.insert(token);
    }
    for (const Orphan& orphan : agent.orphans) {
      if (orphan.held.job == job) tokens.insert(orphan.token);
    }
  }
  return static_cast<int>(tokens.size());
}

}  // namespace wattle::scheduler
