#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

SetLimit limit_command(const State& state, const Job& job, const CapLedger::Command& command,
                       std::string why) {
  const Node& node = state.nodes[command.node];
  return {job.id,        job.run->token,   node.name,     indices_on(node, command.devices),
          command.watts, command.sequence, std::move(why)};
}

using Shares = std::vector<const NodeShare*>;

/// The shares in reach whose limit, as it was last commanded, compares so with some watts.
template <class Compare>
Shares shares_with(const State& state, const Run& run, Compare compare, double watts) {
  Shares shares;
  for (const NodeShare& share : run.shares) {
    if (in_reach(state, share) && compare(issued_watts(state, share), watts)) {
      shares.push_back(&share);
    }
  }
  return shares;
}

void set_limit(Round& round, Job& job, const Shares& shares, double watts, const std::string& why) {
  if (shares.empty()) return;
  State& state = round.state;
  std::string remark = fmt::format("limit {:.0f} to {:.0f} W a device: {}",
                                   issued_watts(state, *shares.front()), watts, why);
  for (const NodeShare* share : shares) {
    const Sequence sequence = state.ledger.issue(share->node, share->devices, watts);
    state.sent_seconds[sequence] = state.now_seconds;
    round.decide(job.id, limit_command(state, job, state.ledger.outstanding().at(sequence), why),
                 std::exchange(remark, ""));
  }
  job.run->issued_watts = issued_watts(state, *job.run);
}

void lower_to(Round& round, Job& job, double watts, const std::string& why) {
  set_limit(round, job, shares_with(round.state, *job.run, std::greater<>(), watts), watts, why);
}

/// Whether only a part of a run is in reach: no plan can move it.
bool is_torn(const State& state, const Job& job) {
  if (job.run->phase == Run::Phase::kStopping || steerable(state, job)) return false;
  return std::ranges::any_of(job.run->shares,
                             [&](const NodeShare& share) { return in_reach(state, share); });
}

/// Runs that are being stopped, or are torn, give up their watts at once when the cap needs them.
void squeeze_unplanned(Round& round) {
  State& state = round.state;
  if (headroom(state) >= 0) return;
  for (JobId id : state.running) {
    Job& job = state.jobs.at(id);
    const double least = state.types[job.run->point.type].min_limit_watts;
    if (job.run->phase == Run::Phase::kStopping) {
      lower_to(round, job, least, "is being stopped, and the cap needs its watts");
    } else if (is_torn(state, job)) {
      job.run->point.limit_watts = std::min(job.run->point.limit_watts, least);
      lower_to(round, job, least, "a part of it is out of reach, and the cap needs its watts");
    }
  }
}

/// What is still drawn above idle by the part of a run that is in reach, at its lowest limit.
double least_watts(const State& state, const Run& run) {
  const DeviceType& type = state.types[run.point.type];
  double watts = 0;
  for (const NodeShare& share : run.shares) {
    if (!in_reach(state, share)) continue;
    for (DeviceId device : share.devices) {
      watts += type.min_limit_watts - state.devices[device].idle_watts;
    }
  }
  return watts;
}

/// What comes free when a run ends on the nodes that can answer.
double held_watts(const State& state, const Run& run) {
  double watts = 0;
  for (const NodeShare& share : run.shares) {
    if (!in_reach(state, share)) continue;
    for (DeviceId device : share.devices) {
      watts += state.ledger.possible_watts(device) - state.devices[device].idle_watts;
    }
  }
  return watts;
}

/// Where the lowest limits are not enough, though plans stop all that they can move, torn runs are
/// stopped as well, those of the least priority that hold most first.
void stop_torn(Round& round) {
  State& state = round.state;
  if (headroom(state) >= 0) return;
  double over = state.least_cap_watts - cap_ahead(state, state.now_seconds);
  std::vector<Job*> jobs;
  for (JobId id : state.running) {
    Job& job = state.jobs.at(id);
    if (!is_torn(state, job)) continue;
    over += least_watts(state, *job.run);
    jobs.push_back(&job);
  }
  std::ranges::stable_sort(jobs, {}, [&](const Job* job) {
    return std::pair(job->request.priority, -held_watts(state, *job->run));
  });
  for (Job* job : jobs) {
    if (over <= 0) return;
    over -= least_watts(state, *job->run);
    stop_run(round, *job, Reason::kPowerCap,
             "a part of it is out of reach, and the cap leaves nothing for the rest");
  }
}

/// Whether a node that can answer has not said that the limit of its devices is as low as it was
/// told to be.
bool keeps_a_higher_limit(const State& state, const Run& run) {
  return std::ranges::any_of(run.shares, [&](const NodeShare& share) {
    if (!in_reach(state, share)) return false;
    return std::ranges::any_of(share.devices, [&](DeviceId device) {
      return state.ledger.possible_watts(device) > state.ledger.issued_watts(device);
    });
  });
}

/// Whether the cap waits for a run to give its watts back: to end, or to take a lower limit.
bool is_waited_for(const State& state, const Run& run) {
  return !run.killed && (run.phase == Run::Phase::kStopping || keeps_a_higher_limit(state, run));
}

/// Those that hold most watts first.
std::vector<Job*> runs_waited_for(State& state) {
  std::vector<Job*> jobs;
  for (JobId id : state.running) {
    Job& job = state.jobs.at(id);
    if (is_waited_for(state, *job.run)) jobs.push_back(&job);
  }
  std::stable_sort(jobs.begin(), jobs.end(), [&](const Job* a, const Job* b) {
    return held_watts(state, *a->run) > held_watts(state, *b->run);
  });
  return jobs;
}

/// The cap, but for what is kept for nodes that join, waits neither for a checkpoint nor for a
/// limit that is never acknowledged: what still holds its watts then is killed, until the rest
/// fits.
void kill_for_cap(Round& round) {
  State& state = round.state;
  const double over = state.ledger.possible_watts() - cap_ahead(state, state.now_seconds);
  if (over <= 0) {
    state.over_cap_seconds.reset();
    return;
  }
  if (!state.over_cap_seconds) state.over_cap_seconds = state.now_seconds;
  if (!is_cap_overdue(state, state.now_seconds)) return;
  double freed = 0;
  for (JobId id : state.running) {
    const Run& run = *state.jobs.at(id).run;
    if (run.killed) freed += held_watts(state, run);
  }
  for (Job* job : runs_waited_for(state)) {
    if (freed >= over) return;
    Run& run = *job->run;
    std::string remark = "killed: the cap could not wait for its checkpoint";
    if (run.phase != Run::Phase::kStopping) {
      stop_run(round, *job, Reason::kPowerCap, "its node has not lowered its limit for the cap");
      remark = "killed: the cap could not wait for its limit";
    }
    run.killed = true;
    freed += held_watts(state, run);
    for (const NodeShare& share : run.shares) {
      if (share.gone) continue;
      round.decide(job->id, Kill{state.nodes[share.node].name, run.token},
                   std::exchange(remark, ""));
    }
  }
}

void lower(Round& round) {
  State& state = round.state;
  for (auto next = state.to_adjust.begin(); next != state.to_adjust.end();) {
    Job& job = state.jobs.at(*next);
    const Run& run = *job.run;
    const double wanted = run.point.limit_watts;
    if (run.phase == Run::Phase::kStopping ||
        shares_with(state, run, std::not_equal_to<>(), wanted).empty()) {
      next = state.to_adjust.erase(next);
      continue;
    }
    ++next;
    lower_to(round, job, wanted,
             fmt::format("planned under a cap of {:.0f} W", state.planned_cap_watts));
  }
}

/// After lower(): what differs from what is wanted is below it.
void raise(Round& round) {
  State& state = round.state;
  double free = headroom(state);
  for (auto next = state.to_adjust.begin(); next != state.to_adjust.end() && free > 0;) {
    Job& job = state.jobs.at(*next);
    const double wanted = job.run->point.limit_watts;
    const Shares shares = shares_with(state, *job.run, std::less<>(), wanted);
    double needed = 0;
    for (const NodeShare* share : shares) {
      needed += state.ledger.raise_watts(share->devices, wanted);
    }
    const bool fits = needed <= free + kRoundingWatts;
    if (fits) {
      set_limit(round, job, shares, wanted, "the plan gives it watts that are free");
      free -= needed;
    }
    next = fits ? state.to_adjust.erase(next) : std::next(next);
  }
}

/// The command that was sent at a moment, if it should be sent once more.
const CapLedger::Command* unanswered(const State& state, Sequence sequence, double sent_seconds,
                                     double now_seconds) {
  if (now_seconds < sent_seconds + state.options.resend_seconds) return nullptr;
  auto command = state.ledger.outstanding().find(sequence);
  if (command == state.ledger.outstanding().end()) return nullptr;
  const Device& device = state.devices[command->second.devices.front()];
  const bool can_answer = device.job > 0 && state.nodes[device.node].state == NodeState::kUp;
  return can_answer ? &command->second : nullptr;
}

void send_again(Round& round) {
  State& state = round.state;
  for (auto& [sequence, sent] : state.sent_seconds) {
    const auto* command = unanswered(state, sequence, sent, state.now_seconds);
    if (!command) continue;
    sent = state.now_seconds;
    const Job& job = state.jobs.at(state.devices[command->devices.front()].job);
    round.decide(0, limit_command(state, job, *command, "not acknowledged yet"), "");
  }
  std::erase_if(state.sent_seconds,
                [&](const auto& sent) { return !state.ledger.outstanding().contains(sent.first); });
}

}  // namespace

double headroom(const State& state) {
  return planning_cap(state, state.now_seconds) - state.ledger.possible_watts();
}

std::vector<int> indices_on(const Node& node, const std::vector<DeviceId>& devices) {
  std::vector<int> indices;
  for (DeviceId device : devices) indices.push_back(device - node.devices.front());
  return indices;
}

bool is_resend_due(const State& state, double now_seconds) {
  return std::any_of(state.sent_seconds.begin(), state.sent_seconds.end(), [&](const auto& sent) {
    return unanswered(state, sent.first, sent.second, now_seconds) != nullptr;
  });
}

bool is_cap_overdue(const State& state, double now_seconds) {
  if (!state.over_cap_seconds) return false;
  if (now_seconds < *state.over_cap_seconds + state.options.stop_seconds) return false;
  return std::any_of(state.running.begin(), state.running.end(),
                     [&](JobId id) { return is_waited_for(state, *state.jobs.at(id).run); });
}

void reconcile(Round& round) {
  squeeze_unplanned(round);
  stop_torn(round);
  kill_for_cap(round);
  lower(round);
  start_pending(round);
  raise(round);
  send_again(round);
}

}  // namespace wattle::scheduler
