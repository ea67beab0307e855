#include <algorithm>
#include <cmath>

#include "scheduler/core/engine/joule_claims.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

/// A run is worth its start when it has had its start-up, 30 s, and a minute more.
constexpr double kWorthSeconds = 90;

/// When the hard or the soft cap changes.
std::vector<double> changes_after(const State& state, double seconds) {
  std::vector<double> moments;
  const auto add = [&](const CapSchedule& caps) {
    for (const CapChange& change : caps.changes_after(seconds)) moments.push_back(change.seconds);
  };
  add(state.hard_cap);
  if (state.soft_cap) add(*state.soft_cap);
  std::ranges::sort(moments);
  return moments;
}

/// What is planned with changes when a cap rises, and so long before one falls as that needs.
std::vector<double> moments_ahead(const State& state, double now_seconds) {
  std::vector<double> moments{now_seconds};
  for (const double change : changes_after(state, now_seconds)) {
    moments.push_back(std::max(now_seconds, change - state.options.settle_seconds));
    moments.push_back(change);
  }
  std::ranges::sort(moments);
  moments.erase(std::ranges::unique(moments).begin(), moments.end());
  return moments;
}

}  // namespace

double base_watts(const State& state) {
  double watts = 0;
  auto add = [&](const std::vector<DeviceId>& devices, bool beyond_idle) {
    for (DeviceId device : devices) {
      watts += state.ledger.possible_watts(device);
      if (beyond_idle) watts -= state.devices[device].idle_watts;
    }
  };
  for (const Node& node : state.nodes) {
    if (node.state != NodeState::kUp) {
      add(node.devices, false);
      continue;
    }
    watts += node.idle_watts;
    for (const auto& [token, devices] : node.foreign_runs) add(devices, true);
  }
  for (JobId id : state.running) {
    const Job& job = state.jobs.at(id);
    for (const NodeShare& share : job.run->shares) {
      if (in_reach(state, share) && !planned_with(state, job, share)) add(share.devices, true);
    }
  }
  return watts;
}

double measured_slack(const State& state) {
  double slack = 0;
  for (JobId id : state.running) {
    const Run& run = *state.jobs.at(id).run;
    for (const NodeShare& share : run.shares) {
      if (share.gone || share.watts <= 0) continue;
      const double limit = issued_watts(state, share) * static_cast<double>(share.devices.size());
      slack += std::max(0.0, limit - share.watts);
    }
  }
  return slack;
}

PlanCap cap_for_plan(const State& state, double at_seconds, double slack_watts) {
  const double cap = planning_cap(state, at_seconds);
  const double soft = planning_soft_cap(state, at_seconds) * (1 - state.options.soft_reserve);
  if (std::isinf(soft)) return {cap, 0};
  const double watts = std::min(cap, soft + slack_watts);
  return {watts, watts - std::min(cap, soft)};
}

std::vector<CapChange> caps_ahead(const State& state) {
  std::vector<CapChange> caps;
  for (const double moment : moments_ahead(state, state.now_seconds)) {
    caps.push_back({moment, cap_for_plan(state, moment, 0).watts});
  }
  return caps;
}

std::vector<CapChange> watts_ahead(const State& state) {
  const double slack = measured_slack(state), base = base_watts(state);
  std::vector<CapChange> watts;
  for (const double moment : moments_ahead(state, state.now_seconds)) {
    watts.push_back({moment, std::max(0.0, cap_for_plan(state, moment, slack).watts - base)});
  }
  return watts;
}

std::vector<CapChange> falls_after(const State& state, double seconds) {
  const auto cap_at = [&](double at) {
    const double hard = state.hard_cap.at(at);
    if (!state.soft_cap) return hard;
    return std::min(hard, state.soft_cap->at(at) * (1 - state.options.soft_reserve));
  };
  std::vector<CapChange> falls;
  double before = cap_at(seconds);
  for (const double moment : changes_after(state, seconds)) {
    const double watts = cap_at(moment);
    if (watts < before) falls.push_back({moment, watts});
    before = watts;
  }
  return falls;
}

std::optional<CapChange> fall_ahead(const State& state, double now_seconds) {
  const double settled = now_seconds + state.options.settle_seconds;
  std::optional<CapChange> lowest;
  for (const CapChange& fall : falls_after(state, settled)) {
    if (fall.seconds >= settled + kWorthSeconds) break;
    if (!lowest || fall.watts < lowest->watts) lowest = fall;
  }
  return lowest;
}

bool outlasts(const State& state, const Job& job, const CapChange& fall, double now_seconds) {
  if (fits_alone(state, job, fall.watts)) return true;
  const double until = fall.seconds - state.options.settle_seconds;
  for (int type = 0; type < static_cast<int>(state.types.size()); ++type) {
    const OperatingPoint best{type, job.rank_counts.back(), state.types[type].max_limit_watts};
    const auto rest = rest_seconds(state, job, best);
    if (state.types[type].is_installed && rest && now_seconds + *rest < until) return true;
  }
  return false;
}

}  // namespace wattle::scheduler
