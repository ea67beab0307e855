#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "scheduler/core/engine/joule_claims.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

/// A run whose lease can't grow any more is stopped while this many seconds' worth are left, for
/// its checkpoint.
constexpr double kCheckpointSeconds = 5;

/// Joules that are not worth a message.
constexpr double kLeastGrowth = 1e-3;

constexpr double kNoEnd = std::numeric_limits<double>::infinity();
constexpr double kNoCap = std::numeric_limits<double>::infinity();  ///< on what is drawn

/// Of windows and periods: later times are no dates any more.
constexpr double kMostSeconds = 100 * 365.25 * 86400;

/// Of a tenant: worths are products of it and remain numbers.
constexpr double kMostWeight = 1e9;

/// So many changes of a cap may lie ahead.
constexpr size_t kMostChanges = 1000;

const CapSchedule* schedule_of(const State& state, CapTier tier) {
  if (tier == CapTier::kHard) return &state.hard_cap;
  return state.soft_cap ? &*state.soft_cap : nullptr;
}

std::string wrong_with(const State& state, const CapSet& event) {
  const bool is_none = event.tier == CapTier::kSoft && event.watts == kNoCap;
  if (!(event.watts > 0) || (std::isinf(event.watts) && !is_none)) {
    return fmt::format("expected a cap above 0 W, got {}", event.watts);
  }
  const double from = event.from_seconds.value_or(state.now_seconds);
  const double until = event.until_seconds.value_or(from + 1);
  const double latest = state.now_seconds + kMostSeconds;
  if (!(from <= latest && until <= latest)) return "expected times within the next 100 years";
  if (until <= from) return "the window ends before it begins";
  if (event.until_seconds && until <= state.now_seconds) return "the window is over";
  const CapSchedule* caps = schedule_of(state, event.tier);
  if (caps && caps->changes_after(state.now_seconds).size() >= kMostChanges &&
      event.until_seconds) {
    return fmt::format(
        "{} changes of the cap lie ahead already: a cap without an end takes the "
        "place of those after it begins",
        kMostChanges);
  }
  return "";
}

std::string wrong_with(const BudgetSet& event) {
  if (event.tenant.empty() || event.tenant.size() > kMostNameBytes) {
    return fmt::format("expected a tenant's name of 1 to {} bytes, got {}", kMostNameBytes,
                       event.tenant.size());
  }
  const auto is_number = [](double value) { return std::isfinite(value) && value >= 0; };
  if (!is_number(event.joules.value_or(0)) || !is_number(event.weight)) {
    return fmt::format("expected joules and a weight of at least 0, got {} and {}",
                       event.joules.value_or(0), event.weight);
  }
  if (event.weight > kMostWeight) {
    return fmt::format("expected a weight of at most {:g}, got {}", kMostWeight, event.weight);
  }
  const double period = event.period_seconds;
  if (period != 0 && !(period >= 1 && period <= kMostSeconds)) {
    return fmt::format("expected a period of 1 s to 100 years, got {} s", period);
  }
  return "";
}

std::string text_of(const CapSet& event) {
  std::string text = event.watts == kNoCap ? "no cap" : fmt::format("cap of {} W", event.watts);
  if (event.tier == CapTier::kSoft) text += " on what is drawn";
  if (event.from_seconds) text += fmt::format(" from {:.0f}", *event.from_seconds);
  if (event.until_seconds) text += fmt::format(" until {:.0f}", *event.until_seconds);
  return text;
}

/// What a share of a run has of joules, neither used nor given back.
struct Held {
  const NodeShare* share = nullptr;
  double joules = 0;
  double devices() const { return static_cast<double>(share->devices.size()); }
};

/// The leases of a run, and what they could be.
struct Renewal {
  std::vector<Held> held;  ///< by the shares that can be told
  double level = 0;        ///< joules a device that each of them may have from now on
  bool is_last = false;    ///< for one of them no more than a checkpoint's worth is left
};

/// How far leases can grow if none shrinks and what is left is dealt evenly over all devices, as
/// water is over a floor that is not even.
double level_of(std::vector<Held> held, double left, double most) {
  std::ranges::sort(held, {}, [](const Held& each) { return each.joules / each.devices(); });
  double joules = left, devices = 0;
  for (const Held& each : held) {
    if (devices > 0 && each.joules / each.devices() >= joules / devices) break;
    joules += each.joules;
    devices += each.devices();
  }
  return std::min(most, joules / std::max(1.0, devices));
}

/// Those of its shares that are in reach and need a lease. One that has a lease is stopped when it
/// is used, though its budget may have been lifted meanwhile.
std::vector<Held> held_by(const State& state, const Run& run) {
  std::vector<Held> held;
  for (const NodeShare& share : run.shares) {
    if (!in_reach(state, share)) continue;
    const double lease = state.joules.leased(run.token, share.node);
    if (lease == 0 && !state.joules.limited(run.token, share.node)) continue;
    const double used = state.joules.reported(run.token, share.node);
    held.push_back({&share, std::max(0.0, lease - used)});
  }
  return held;
}

/// For how long a run gets a lease: where joules are few, others need what it will not. Reports
/// come every 15 s at least, and half of the shortest lease is left when one is seen to be due. Of
/// a run that goes on after its last unit nobody knows for how long.
double lease_seconds(const State& state, const Job& job) {
  constexpr double kShortestSeconds = 40, kMargin = 1.1;
  const double longest = state.options.joule_lease_seconds;
  if (job.units_done <= job.run->units_before) return longest;
  const double rest = rest_seconds(state, job, job.run->point).value_or(0);
  return rest > 0 ? std::min(longest, rest * kMargin + kShortestSeconds) : longest;
}

/// Nothing for a run whose leases are long enough, or that needs none.
std::optional<Renewal> renewal(const State& state, const Job& job, JouleClaims& claims) {
  const Run& run = *job.run;
  Renewal due{held_by(state, run)};
  if (due.held.empty()) return std::nullopt;
  const double need = run.issued_watts * lease_seconds(state, job);  // a device
  const auto has_less = [&](double joules) {
    return [joules](const Held& each) { return each.joules < joules * each.devices(); };
  };
  if (std::ranges::none_of(due.held, has_less(need / 2))) return std::nullopt;
  const double of_tenant =
      state.joules.tenant_left(job.request.tenant).value_or(kNoEnd) - claims.before(job);
  const double left =
      std::max(0.0, std::min(of_tenant, state.joules.job_left(job.id).value_or(kNoEnd)));
  due.level = level_of(due.held, left, need);
  // What a start was promised is not its last, however much it draws.
  const double promised = start_joules(state, run.point.type, 1);
  const double last = std::min(run.issued_watts * kCheckpointSeconds, promised / 2);
  const bool grows = std::ranges::any_of(due.held, has_less(due.level - kLeastGrowth));
  due.is_last = due.level < last;
  return grows || due.is_last ? std::optional(due) : std::nullopt;
}

std::string why_out_of_joules(const State& state, const Job& job, double kept_joules) {
  if (state.joules.job_left(job.id).value_or(1) < 1) return "the job has no joules left";
  const std::string& tenant = job.request.tenant;
  if (kept_joules < 1) return fmt::format("tenant {} has no joules left", tenant);
  return fmt::format("tenant {} has {:.0f} J left, kept for runs that go first", tenant,
                     state.joules.tenant_left(tenant).value_or(0));
}

void renew(Round& round, Job& job, JouleClaims& claims) {
  State& state = round.state;
  const Token token = job.run->token;
  const auto due = renewal(state, job, claims);
  if (!due) return;
  for (const auto& [share, joules] : due->held) {
    const double more = due->level * static_cast<double>(share->devices.size()) - joules;
    if (more < kLeastGrowth) continue;
    const double used = std::max(state.joules.reported(token, share->node),
                                 state.joules.leased(token, share->node));
    const double lease = state.joules.lease(token, share->node, used + more);
    claims.lease(job, lease - used);
    round.decide(job.id, LeaseJoules{job.id, token, state.nodes[share->node].name, lease}, "");
  }
  if (due->is_last) {
    stop_run(round, job, Reason::kEnergyBudget, why_out_of_joules(state, job, claims.before(job)));
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
                fmt::format("a cap of {} W is below the {} W that idle devices and nodes out of "
                            "reach may draw",
                            event.watts, std::ceil(10 * least) / 10),  // a number that works
                least},
        "");
    return;
  }
  if (event.tier == CapTier::kSoft && !state.soft_cap) state.soft_cap.emplace(kNoCap);
  CapSchedule& caps = event.tier == CapTier::kSoft ? *state.soft_cap : state.hard_cap;
  caps.set(event.watts, std::max(state.now_seconds, event.from_seconds.value_or(0)),
           event.until_seconds.value_or(kNoEnd));
  round.decide(0, Noted{event.request_id, text_of(event)}, "");
  state.outlook.made_seconds = -kNoEnd;
  state.note_change();
}

void on(Round& round, const BudgetSet& event) {
  State& state = round.state;
  if (std::string wrong = wrong_with(event); !wrong.empty()) {
    round.decide(0, Refused{event.tenant, wrong, std::nullopt}, "");
    return;
  }
  JouleLedger& joules = state.joules;
  joules.set_budget(event.tenant, event.joules, event.period_seconds, state.now_seconds);
  Tenant& tenant = state.tenants[event.tenant];
  tenant.name = event.tenant;
  if (event.weight > 0) tenant.weight = event.weight;
  state.note_change();
  const std::string budget =
      event.joules
          ? fmt::format("budget of {} J every {} s, of which {:.0f} J are spent", *event.joules,
                        joules.period_seconds(event.tenant), joules.tenant_spent(event.tenant))
          : "no limit on joules";
  round.decide(0, Noted{event.tenant, budget}, "");
}

void lease_start(Round& round, Job& job, JouleClaims& claims) { renew(round, job, claims); }

void renew_leases(Round& round) {
  JouleClaims claims(round.state, round.state.now_seconds);
  for (JobId id : round.state.running) {
    Job& job = round.state.jobs.at(id);
    if (job.run->phase != Run::Phase::kStopping) renew(round, job, claims);
  }
}

bool is_renewal_due(const State& state) {
  JouleClaims claims(state, state.now_seconds);
  return std::ranges::any_of(state.running, [&](JobId id) {
    const Job& job = state.jobs.at(id);
    return job.run->phase != Run::Phase::kStopping && renewal(state, job, claims);
  });
}

void on(Round& round, const Configured& event) {
  State& state = round.state;
  CoreOptions changed = state.options;
  changed.policy = {event.policy, event.eta, event.reserve_after_seconds};
  changed.lease_seconds = event.lease_seconds;
  changed.orphan_grace_seconds = event.orphan_grace_seconds;
  changed.history_seconds = event.history_seconds;
  changed.history_bytes = event.history_bytes;
  state.policy = make_policy(changed.policy);
  state.options = changed;
  state.note_change();
  std::string text = fmt::format("policy {}, eta {}, leases of {} s and {} s, jobs kept for {} s",
                                 event.policy, event.eta, event.lease_seconds,
                                 event.orphan_grace_seconds, event.history_seconds);
  if (event.history_bytes > 0) text += fmt::format(" in {} bytes", event.history_bytes);
  if (event.reserve_after_seconds != PolicyOptions{}.reserve_after_seconds) {
    text += fmt::format(", devices reserved after {} s", event.reserve_after_seconds);
  }
  round.decide(0, Noted{"options", std::move(text)}, "");
}

}  // namespace wattle::scheduler
