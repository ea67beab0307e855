#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

Job* job_of(State& state, Token token) {
  auto found = state.job_of_token.find(token);
  return found == state.job_of_token.end() ? nullptr : &state.jobs.at(found->second);
}

struct Ending {
  JobState state;
  Reason reason;
  std::string why;
};

Ending ending_after_stop(const Run& run) {
  switch (run.stop_reason) {
    case Reason::kCancelled:
      return {JobState::kCancelled, Reason::kCancelled, "cancelled while it ran"};
    case Reason::kEnergyBudget:
      return {JobState::kPreempted, Reason::kEnergyBudget, "its joules are spent"};
    case Reason::kResize:
      return {JobState::kPreempted, Reason::kResize, "goes on with another number of ranks"};
    default:
      return {JobState::kPreempted, Reason::kPreempted, "goes on from its checkpoint"};
  }
}

Ending ending_without_blame(const State& state, const Job& job) {
  const int failures = job.start_failures + 1;
  const bool has_begun = job.run->phase == Run::Phase::kRunning;
  const char* what = has_begun ? "could not go on" : "could not be started";
  if (failures > state.options.start_failure_limit) {
    return {JobState::kNodeFail, Reason::kNodeStartFailure,
            fmt::format("{} {} times: {}", what, failures, job.run->cause)};
  }
  return {job.units_done > 0 ? JobState::kPreempted : JobState::kPending, Reason::kNodeStartFailure,
          fmt::format("{} and waits for another try: {}", what, job.run->cause)};
}

Ending ending(const State& state, const Job& job) {
  const Run& run = *job.run;
  const int code = run.exit_code.value_or(kExitFailed);
  // Its first node has seen all ranks end: what became of the others since is no matter.
  if (code == kExitDone) return {JobState::kCompleted, Reason::kNone, ""};
  const bool is_stopped = run.phase == Run::Phase::kStopping && !run.node_failed;
  if (is_stopped || run.stop_reason == Reason::kCancelled) return ending_after_stop(run);
  if (run.node_failed) {
    const int failures = job.node_failures + 1;
    if (failures > state.options.node_failure_limit) {
      return {JobState::kNodeFail, Reason::kNodeDown,
              fmt::format("lost its node {} times", failures)};
    }
    return {JobState::kPreempted, Reason::kNodeDown, "lost a node; goes on from its checkpoint"};
  }
  if (run.blameless) return ending_without_blame(state, job);
  switch (code) {
    case kExitBudgetSpent:
      return {JobState::kTimeout, Reason::kEnergyBudget, "the energy budget of its run is spent"};
    case kExitStopped:
      return {JobState::kPreempted, Reason::kPreempted,
              "was told to stop; goes on from its checkpoint"};
    default:
      return {JobState::kFailed, Reason::kNonZeroExit,
              fmt::format("exit code {}{}", code, run.cause.empty() ? "" : ": " + run.cause)};
  }
}

/// A run that ends of itself or for want of joules and has done nothing would do it again: the job
/// rests before it is planned again, each time twice as long, at most an hour.
void rest_if_fruitless(State& state, Job& job, Ending& end) {
  constexpr double kFirstRestSeconds = 10, kLongestRestSeconds = 3600, kLongRunSeconds = 600;
  const Run& run = *job.run;
  const bool by_scheduler = run.node_failed || (run.phase == Run::Phase::kStopping &&
                                                run.stop_reason != Reason::kEnergyBudget);
  // Not every job counts units.
  const bool has_progressed = job.units_done > run.units_before ||
                              state.now_seconds - run.started_seconds > kLongRunSeconds;
  if (has_progressed) job.fruitless_runs = 0;
  if (by_scheduler || has_progressed) return;
  const double rest =
      std::min(kLongestRestSeconds, std::ldexp(kFirstRestSeconds, job.fruitless_runs));
  job.fruitless_runs = std::min(job.fruitless_runs + 1, 30);
  job.not_before_seconds = state.now_seconds + rest;
  state.resting.emplace(job.not_before_seconds, job.id);
  end.why += fmt::format(
      "; {} without progress: rests for {:.0f} s",
      job.fruitless_runs == 1 ? "it ended" : fmt::format("{} runs in a row", job.fruitless_runs),
      rest);
}

PastRun past_run(const Run& run, double now_seconds) {
  PastRun past{run.started_seconds, now_seconds, run.point.type, run.point.ranks, {},
               Reason::kNone,       ""};
  for (const NodeShare& share : run.shares) past.nodes.push_back(share.node);
  return past;
}

void finish_run(Round& round, Job& job) {
  State& state = round.state;
  if (job.units_done > job.run->units_before) job.start_failures = 0;
  Ending end = ending(state, job);
  const double start = least_start_joules(state, job);
  const auto own = state.joules.job_left(job.id);
  if (!is_finished(end.state) && own && *own < std::max(1.0, start)) {
    end = {JobState::kTimeout, Reason::kEnergyBudget,
           fmt::format("its own joules are spent: {:.0f} J are left, and a start takes {:.0f} J",
                       *own, start)};
  }
  if (!is_finished(end.state)) rest_if_fruitless(state, job, end);
  if (job.run->node_failed) ++job.node_failures;
  if (end.reason == Reason::kNodeStartFailure) ++job.start_failures;
  if (end.reason != Reason::kResize) job.resize_ranks = 0;
  job.last_run = past_run(*job.run, state.now_seconds);
  job.exit_code = job.run->exit_code.value_or(kExitFailed);
  if (end.reason != Reason::kResize) job.claims_since_seconds.reset();
  state.job_of_token.erase(job.run->token);
  state.running.erase(job.id);
  state.to_adjust.erase(job.id);
  job.run.reset();
  if (!is_finished(end.state)) {
    job.eligible_seconds = state.now_seconds;
    state.waiting.insert(job.id);
    job.last_run->reason = end.reason, job.last_run->why = end.why;
  }
  round.change(job, end.state, end.reason, end.why);
  state.note_change();
  if (is_finished(job.state)) end_of_waiting(round, job);
}

/// What a share may have used since its last report: its limits until its agent has surely ended
/// it.
double unreported_joules(const State& state, const Run& run, const NodeShare& share) {
  const Node& node = state.nodes[share.node];
  const double watts =
      share.watts > 0 ? share.watts : run.issued_watts * static_cast<double>(share.devices.size());
  double until = state.now_seconds;
  if (node.state != NodeState::kUp) {
    until = std::min(until, node.lost_seconds + node.lease_seconds + node.orphan_grace_seconds);
  }
  return watts * std::max(0.0, until - share.reported_seconds);
}

/// The accounts are to hold the ledger's figure.
void tell_estimate(Round& round, Token token, const Node& node) {
  const State& state = round.state;
  const auto owner = state.owner_of_token.find(token);
  if (owner == state.owner_of_token.end()) return;
  const Job& job = state.jobs.at(owner->second);
  const double joules = state.joules.estimated(token, node.id);
  round.decide(job.id, Estimated{job.id, token, job.request.tenant, node.name, joules}, "");
}

void estimate_joules(Round& round, const Run& run, const NodeShare& share) {
  State& state = round.state;
  state.joules.estimate(run.token, share.node, unreported_joules(state, run, share));
  if (state.joules.estimated(run.token, share.node) <= 0) return;
  tell_estimate(round, run.token, state.nodes[share.node]);
}

}  // namespace

void report_joules(Round& round, Token token, const Node& node, double total) {
  JouleLedger& joules = round.state.joules;
  const bool settles = joules.estimated(token, node.id) > 0;
  joules.report(token, node.id, total);
  if (settles) tell_estimate(round, token, node);
}

void end_share(Round& round, Job& job, NodeId node, std::optional<int> exit_code) {
  State& state = round.state;
  Run& run = *job.run;
  bool all_gone = true;
  std::vector<std::string> others;
  for (NodeShare& share : run.shares) {
    if (share.node == node && !share.gone) {
      share.gone = true;
      for (DeviceId device : share.devices) {
        const bool up = state.nodes[node].state == NodeState::kUp;
        if (up) state.ledger.park(device, state.devices[device].idle_watts);
        free_device(state, device);
      }
      if (exit_code) {
        state.joules.close(run.token, node);
      } else {
        estimate_joules(round, run, share);
      }
      if (share.node == run.shares.front().node) run.exit_code = exit_code;
    }
    if (!share.gone) others.push_back(state.nodes[share.node].name);
    all_gone = all_gone && share.gone;
  }
  if (!exit_code) run.node_failed = true;
  state.note_change();
  // Nothing goes on without the first node, which runs mpirun: not even a share whose ranks it
  // never reached. It waits for those on a node that could not begin.
  if (exit_code && (node == run.shares.front().node || run.blameless)) {
    for (const std::string& other : others) round.decide(job.id, Kill{other, run.token}, "");
  }
  if (all_gone) {
    finish_run(round, job);
  } else if (!exit_code && run.phase != Run::Phase::kStopping) {
    run.phase = Run::Phase::kStopping;
    run.stop_reason = Reason::kNodeDown;
    round.decide(job.id,
                 Stop{job.id, run.token, Reason::kNodeDown, others, "one of its nodes is lost"},
                 "stopped: one of its nodes is lost");
  }
}

void stop_run(Round& round, Job& job, Reason reason, const std::string& why) {
  State& state = round.state;
  Run& run = *job.run;
  if (run.phase == Run::Phase::kStopping && reason != Reason::kCancelled) return;
  run.phase = Run::Phase::kStopping;
  run.stop_reason = reason;
  run.stop_seconds = state.now_seconds;
  std::vector<std::string> nodes;
  for (const NodeShare& share : run.shares) {
    if (!share.gone) nodes.push_back(state.nodes[share.node].name);
  }
  round.decide(job.id, Stop{job.id, run.token, reason, std::move(nodes), why},
               fmt::format("stopped ({}): {}", to_string(reason), why));
}

void on(Round& round, const LimitAcknowledged& event) {
  State& state = round.state;
  const Node* node = live_node(state, event.node, event.epoch);
  if (!node) return;
  auto command = state.ledger.outstanding().find(event.sequence);
  if (command == state.ledger.outstanding().end() || command->second.node != node->id) return;
  state.ledger.acknowledge(event.sequence);
  state.sent_seconds.erase(event.sequence);
}

void on(Round& round, const JobStarted& event) {
  State& state = round.state;
  Job* job = job_of(state, event.token);
  const Node* node = live_node(state, event.node, event.epoch);
  if (!job || !node || !share_on(*job, node->id)) return;
  if (job->run->phase == Run::Phase::kStarting) job->run->phase = Run::Phase::kRunning;
}

namespace {

/// A node that takes one run after the other and brings none to its end is kept from taking more.
void note_cause(Round& round, Run& run, Node& node, const JobExited& event) {
  if (run.cause.empty() && !event.cause.empty()) {
    run.cause = event.blameless ? fmt::format("{}: {}", node.name, event.cause) : event.cause;
  }
  run.blameless = run.blameless || event.blameless;
  if (!event.blameless) node.start_failures = 0;
  if (!event.blameless || !event.node_at_fault) return;
  const int most = round.state.options.node_start_failures;
  if (++node.start_failures < most || node.drained) return;
  set_drained(
      round, node, true,
      fmt::format("{} runs in a row could not be started, or go on: {}", most, event.cause));
}

}  // namespace

void on(Round& round, const JobExited& event) {
  State& state = round.state;
  Node* node = live_node(state, event.node, event.epoch);
  if (!node) return;
  report_joules(round, event.token, *node, event.joules);
  if (Job* job = job_of(state, event.token); job && share_on(*job, node->id)) {
    note_cause(round, *job->run, *node, event);
    end_share(round, *job, node->id, event.exit_code);
    return;
  }
  auto foreign = node->foreign_runs.find(event.token);
  if (foreign == node->foreign_runs.end()) return;
  for (DeviceId device : foreign->second) {
    state.ledger.park(device, state.devices[device].idle_watts);
    free_device(state, device);
  }
  node->foreign_runs.erase(foreign);
  state.joules.close(event.token, node->id);
  state.note_change();
}

void on(Round& round, const Measured& event) {
  State& state = round.state;
  const Node* node = live_node(state, event.node, event.epoch);
  if (!node) return;
  report_joules(round, event.token, *node, event.joules);
  Job* job = job_of(state, event.token);
  NodeShare* share = job ? share_on(*job, node->id) : nullptr;
  if (!share) return;
  share->watts = event.watts;
  share->reported_seconds = state.now_seconds;
  if (event.units && std::isfinite(*event.units)) job->units_done = *event.units;
  const Run& run = *job->run;
  if (!event.units_per_second || run.phase == Run::Phase::kStopping) return;
  // One node's draw stands for its like on the others.
  const double watts = event.watts * run.point.ranks / static_cast<double>(share->devices.size());
  const OperatingPoint point{run.point.type, run.point.ranks, event.limit_watts};
  state.profiles.record(state.types, *job, point, *event.units_per_second, watts);
}

void on(Round& round, const Tick&) {
  renew_leases(round);
  forget_old_jobs(round);
}

}  // namespace wattle::scheduler
