#include <fmt/format.h>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

/// A run whose lease can't grow any more is stopped while this many seconds' worth are left, for
/// its checkpoint.
constexpr double kCheckpointSeconds = 5;

std::string wrong_with(const State& state, const CapSet& event) {
  if (!(event.watts > 0)) return fmt::format("expected a cap above 0 W, got {}", event.watts);
  const double from = event.from_seconds.value_or(state.now_seconds);
  if (event.until_seconds && *event.until_seconds <= from)
    return "the window ends before it begins";
  if (event.until_seconds && *event.until_seconds <= state.now_seconds) return "the window is over";
  return "";
}

/// What a share of a run has and could have.
struct Renewal {
  double before = 0;  ///< joules leased since the run began
  double after = 0;
  bool is_last = false;  ///< no more than a checkpoint's worth is left
};

/// Nothing for a share whose lease is long enough, or that needs none.
std::optional<Renewal> renewal(const State& state, const Job& job, const NodeShare& share) {
  const Token token = job.run->token;
  if (share.gone || state.nodes[share.node].state != NodeState::kUp) return std::nullopt;
  if (!state.joules.limited(token, share.node)) return std::nullopt;
  const double watts = job.run->issued_watts * static_cast<double>(share.devices.size());
  const double need = watts * state.options.joule_lease_seconds;
  const double reported = state.joules.reported(token, share.node);
  const double before = state.joules.leased(token, share.node);
  if (before - reported >= need / 2) return std::nullopt;
  const double after = state.joules.offer(token, share.node, reported + need);
  const bool is_last = after - reported < watts * kCheckpointSeconds;
  if (after <= before && !is_last) return std::nullopt;
  return Renewal{before, after, is_last};
}

void renew(Round& round, Job& job, const NodeShare& share) {
  State& state = round.state;
  const Token token = job.run->token;
  const auto due = renewal(state, job, share);
  if (!due) return;
  if (due->after > due->before) {
    state.joules.lease(token, share.node, due->after);
    round.decide(job.id, LeaseJoules{job.id, token, state.nodes[share.node].name, due->after}, "");
  }
  if (due->is_last) {
    stop_run(round, job, Reason::kEnergyBudget,
             fmt::format("{} has no joules left", state.joules.job_left(job.id).value_or(1) < 1
                                                      ? "the job"
                                                      : "tenant " + job.request.tenant));
  }
}

}  // namespace

void on(Round& round, const CapSet& event) {
  State& state = round.state;
  if (std::string wrong = wrong_with(state, event); !wrong.empty()) {
    round.decide(0, Refused{event.request_id, wrong, std::nullopt}, "");
    return;
  }
  const double least = state.least_cap_watts;
  if (event.watts < least) {
    round.decide(
        0,
        Refused{event.request_id,
                fmt::format("a cap of {:.0f} W is below the {:.0f} W that idle devices and "
                            "nodes out of reach may draw",
                            event.watts, least),
                least},
        "");
    return;
  }
  const CapWindow window{event.watts, event.from_seconds, event.until_seconds};
  if (event.tier == CapTier::kSoft) {
    if (!state.soft_cap) state.soft_cap.emplace(std::numeric_limits<double>::infinity());
    state.soft_cap->add(window);
  } else {
    state.hard_cap.add(window);
  }
  round.decide(0, Noted{event.request_id, fmt::format("cap of {} W", event.watts)}, "");
  state.note_change();
}

void on(Round& round, const BudgetSet& event) {
  State& state = round.state;
  if ((event.joules && !(*event.joules >= 0)) || !(event.period_seconds > 0) ||
      !(event.weight > 0)) {
    round.decide(
        0,
        Refused{event.tenant, "expected joules >= 0, a period and a weight above 0", std::nullopt},
        "");
    return;
  }
  state.joules.set_budget(event.tenant, event.joules, event.period_seconds, state.now_seconds);
  state.tenants[event.tenant] = {event.tenant, event.weight};
  state.note_change();
  round.decide(0,
               Noted{event.tenant, event.joules ? fmt::format("budget of {} J every {} s",
                                                              *event.joules, event.period_seconds)
                                                : "no limit on joules"},
               "");
}

void renew_leases(Round& round) {
  for (JobId id : round.state.running) {
    Job& job = round.state.jobs.at(id);
    if (job.run->phase == Run::Phase::kStopping) continue;
    for (const NodeShare& share : job.run->shares) renew(round, job, share);
  }
}

bool is_renewal_due(const State& state) {
  for (JobId id : state.running) {
    const Job& job = state.jobs.at(id);
    if (job.run->phase == Run::Phase::kStopping) continue;
    for (const NodeShare& share : job.run->shares) {
      if (renewal(state, job, share)) return true;
    }
  }
  return false;
}

void on(Round& round, const Configured& event) {
  State& state = round.state;
  CoreOptions changed = state.options;
  changed.policy = {event.policy, event.eta};
  changed.lease_seconds = event.lease_seconds;
  changed.orphan_grace_seconds = event.orphan_grace_seconds;
  changed.history_seconds = event.history_seconds;
  state.policy = make_policy(changed.policy);
  state.options = changed;
  state.note_change();
  round.decide(
      0,
      Noted{"options", fmt::format("policy {}, eta {}, leases of {} s and {} s, jobs kept for {} s",
                                   event.policy, event.eta, event.lease_seconds,
                                   event.orphan_grace_seconds, event.history_seconds)},
      "");
}

}  // namespace wattle::scheduler
