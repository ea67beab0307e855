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

void renew(Round& round, Job& job, const NodeShare& share) {
  State& state = round.state;
  const Token token = job.run->token;
  if (!state.joules.limited(token, share.node)) return;
  const double watts = job.run->issued_watts * static_cast<double>(share.devices.size());
  const double need = watts * state.options.joule_lease_seconds;
  const double reported = state.joules.reported(token, share.node);
  const double before = state.joules.leased(token, share.node);
  if (before - reported >= need / 2) return;
  const double after = state.joules.lease(token, share.node, reported + need);
  if (after > before) {
    round.decide(job.id, LeaseJoules{job.id, token, state.nodes[share.node].name, after}, "");
  }
  if (after - reported < watts * kCheckpointSeconds) {
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
  plan(round);  // a lower cap does not wait for the next tick
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
  state.dirty = true;
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
    for (const NodeShare& share : job.run->shares) {
      if (!share.gone && round.state.nodes[share.node].state == NodeState::kUp) {
        renew(round, job, share);
      }
    }
  }
}

}  // namespace wattle::scheduler
