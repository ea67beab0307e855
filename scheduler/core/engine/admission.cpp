#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "common/text.h"
#include "scheduler/core/engine/joule_claims.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

/// What the policy would let a job run at, were it alone; nothing if the cap does not let it.
std::optional<Option> choice_alone(State& state, const Job& job, double at_seconds) {
  const Plan plan = state.policy->plan(make_snapshot_alone(state, job, at_seconds));
  const std::optional<OperatingPoint>& point = plan.choices.front().point;
  if (!point) return std::nullopt;
  return Option{*point, state.profiles.at(state.types, job, *point)};
}

/// How a job would run alone, and from when on a cap lets it.
struct Alone {
  Option option;
  double from_seconds = 0;
  double cap_watts = 0;
};

/// Under the cap of now, else under the first later one that holds it.
std::optional<Alone> first_choice(State& state, const Job& job) {
  for (const CapChange& cap : state.outlook.caps) {
    const double from = std::max(cap.seconds, state.now_seconds);
    const bool is_first = &cap == &state.outlook.caps.front();
    if (!is_first && !fits_alone(state, job, cap.watts)) continue;
    const auto option = choice_alone(state, job, from);
    if (option) return Alone{*option, from, cap.watts};
  }
  return std::nullopt;
}

/// From when on a later cap holds the job again.
std::optional<double> next_fit(const State& state, const Job& job, double after_seconds) {
  for (const CapChange& cap : state.outlook.caps) {
    if (cap.seconds > after_seconds && fits_alone(state, job, cap.watts)) return cap.seconds;
  }
  return std::nullopt;
}

/// Which cap that begins later the job will not outlast.
void expect_fall(const State& state, const Job& job, Accepted& accepted) {
  const double start = accepted.start_seconds.value_or(state.now_seconds);
  const double end = start + accepted.run_seconds.value_or(std::numeric_limits<double>::infinity());
  for (const CapChange& change : falls_after(state, start)) {
    if (change.seconds >= end) return;
    if (fits_alone(state, job, change.watts)) continue;
    const auto soon = fall_ahead(state, start);
    const bool is_put_off = soon && !outlasts(state, job, *soon, start);
    accepted.why += fmt::format(
        "; a cap of {:.0f} W from {} will not hold it: it will {}", change.watts,
        time_text(change.seconds),
        is_put_off ? "not be started so shortly before" : "be stopped at its checkpoint then");
    if (is_put_off) accepted.start_seconds = next_fit(state, job, change.seconds);
    return;
  }
}

/// When the job's tenant, which is short of joules now, can pay a start; nothing if never.
std::optional<double> next_payday(const State& state, const Job& job, double start_joules) {
  const std::string& tenant = job.request.tenant;
  const double least = std::max(1.0, start_joules);
  if (state.joules.job_left(job.id).value_or(least) < least) return std::nullopt;
  if (state.joules.tenant_budget(tenant).value_or(least) < least) return std::nullopt;
  return state.joules.period_end_seconds(tenant);
}

std::string left_of_tenant(const State& state, const Job& job, double kept_joules) {
  const std::string& tenant = job.request.tenant;
  std::string text =
      fmt::format("tenant {} has {:.0f} J left", tenant, *state.joules.tenant_left(tenant));
  if (kept_joules >= 1) {
    text += fmt::format(", and {:.0f} J are kept for what its runs are expected to use yet",
                        kept_joules);
  }
  return text;
}

/// What joules say of the start, and whether they are enough for the whole job.
void expect_joules(const State& state, const Job& job, Accepted& accepted) {
  const auto& own = job.request.energy_budget_joules;
  if (own && accepted.joules && *accepted.joules > *own) {
    accepted.why += fmt::format("; its own {:.0f} J are less than the {:.0f} J expected", *own,
                                *accepted.joules);
  }
  const double kept = kept_joules(state, job);
  if (const std::string why = short_of_joules(state, job, kept); !why.empty()) {
    accepted.why += "; " + why;
    const auto payday = next_payday(state, job, least_start_joules(state, job));
    if (!payday) accepted.start_seconds.reset();
    if (accepted.start_seconds) accepted.start_seconds = std::max(*accepted.start_seconds, *payday);
    return;
  }
  const auto left = state.joules.tenant_left(job.request.tenant);
  if (left && accepted.joules && *accepted.joules > *left - kept) {
    accepted.why += fmt::format("; {}, less than the {:.0f} J expected",
                                left_of_tenant(state, job, kept), *accepted.joules);
  }
}

}  // namespace

bool fits_alone(const State& state, const Job& job, double cap_watts) {
  const bool all_run = all_can_run(state, state.installed, cap_watts);
  const double left = cap_watts - state.least_cap_watts + kRoundingWatts;
  for (int type = 0; type < static_cast<int>(state.installed.size()); ++type) {
    if (job.rank_counts.front() > state.widest[type]) continue;
    if (all_run || least_watts(state, job, type) <= left) return true;
  }
  return false;
}

double least_watts(const State& state, const Job& job, int type) {
  const DeviceType& t = state.types[type];
  return job.rank_counts.front() * (t.min_limit_watts - t.idle_watts);
}

double start_joules(const State& state, int type, int ranks) {
  constexpr double kStartSeconds = 30;
  return kStartSeconds * ranks * state.types[type].min_limit_watts;
}

double least_start_joules(const State& state, const Job& job) {
  std::optional<double> least;
  const int ranks = job.rank_counts.front();
  for (int type = 0; type < static_cast<int>(state.installed.size()); ++type) {
    if (state.widest[type] < ranks) continue;
    const double joules = start_joules(state, type, ranks);
    least = std::min(least.value_or(joules), joules);
  }
  return least.value_or(0);
}

bool has_joules(const State& state, const Job& job, double joules, double kept_joules) {
  const double least = std::max(1.0, joules);
  const auto tenant_left = state.joules.tenant_left(job.request.tenant);
  if (tenant_left && *tenant_left - kept_joules < least) return false;
  return state.joules.job_left(job.id).value_or(least) >= least;
}

std::string short_of_joules(const State& state, const Job& job, double kept_joules) {
  return short_of_joules(state, job, kept_joules, least_start_joules(state, job));
}

std::string short_of_joules(const State& state, const Job& job, double kept_joules, double joules) {
  const double least = std::max(1.0, joules);
  if (has_joules(state, job, least, kept_joules)) return "";
  const auto own = state.joules.job_left(job.id);
  if (own && *own < least) {
    return fmt::format(
        "the job has {:.0f} J left, and a start takes {:.0f} J: it can never start here", *own,
        least);
  }
  const std::string& tenant = job.request.tenant;
  if (!next_payday(state, job, least)) {
    return fmt::format(
        "no period of tenant {}, each with {:.0f} J, pays a start, which takes {:.0f} J: it can't "
        "start before the budget is raised",
        tenant, *state.joules.tenant_budget(tenant), least);
  }
  return fmt::format("{}, and a start takes {:.0f} J: its next period begins at {}",
                     left_of_tenant(state, job, kept_joules), least,
                     time_text(state.joules.period_end_seconds(tenant)));
}

std::string never_fits(const State& state, const Job& job, double now_seconds) {
  if (state.types.empty()) return "";  // no node has registered: nothing can be said yet
  const double start = std::max(1.0, least_start_joules(state, job));
  if (job.request.energy_budget_joules.value_or(start) < start) {
    return fmt::format(
        "job.energy_budget_joules: {:.0f} J are less than the {:.0f} J that its start-up and a "
        "checkpoint take: 30 s on {} devices at their lowest limit",
        *job.request.energy_budget_joules, start, job.rank_counts.front());
  }
  const std::vector<int>& devices = state.installed;
  double cap = state.hard_cap.highest_from(now_seconds);
  const bool all_run = all_can_run(state, state.installed, cap);
  for (const Node& node : state.nodes) {
    if (!node.removed) cap -= node.idle_watts;  // those out of reach may come back
  }
  std::vector<std::string> too_big, too_hot;
  for (size_t type = 0; type < devices.size(); ++type) {
    if (devices[type] == 0) continue;
    const int ranks = job.rank_counts.front();
    const double watts = least_watts(state, job, static_cast<int>(type));
    if (ranks > state.widest[type]) {
      too_big.push_back(
          fmt::format("{} of {}{}", state.widest[type], state.types[type].name,
                      ranks <= devices[type] ? " on nodes that share a jobs_dir" : ""));
    } else if (!all_run && watts > cap + kRoundingWatts) {
      too_hot.push_back(fmt::format("{:.0f} W on {}", watts, state.types[type].name));
    } else {
      return "";
    }
  }
  if (!too_hot.empty()) {
    return fmt::format(
        "it needs at least {} above idle, and the cap never leaves more than {:.0f} W",
        fmt::join(too_hot, " or "), std::max(0.0, cap));
  }
  return fmt::format("it needs at least {} devices of one type, and the cluster has {}",
                     job.rank_counts.front(),
                     too_big.empty() ? "none" : fmt::format("{}", fmt::join(too_big, ", ")));
}

Accepted expect(State& state, const Job& job) {
  Accepted accepted;
  accepted.job = job.id;
  accepted.name = job.request.name;
  accepted.overrides = job.request.overrides;
  const std::optional<Alone> alone = first_choice(state, job);
  if (!alone) {
    accepted.why = state.types.empty() ? "no node has registered yet: nothing can be foretold"
                                       : "no cap that is known holds it beside what idle devices "
                                         "and nodes out of reach may draw";
    expect_joules(state, job, accepted);
    return accepted;
  }
  const Option& option = alone->option;
  const Performance& p = option.performance;
  accepted.watts = p.watts;
  accepted.run_seconds = rest_seconds(job, p);
  if (accepted.run_seconds) accepted.joules = *accepted.run_seconds * p.watts;
  if (!job.is_dependent) accepted.start_seconds = expected_start(state, job);
  const bool is_later = alone->from_seconds > state.now_seconds;
  if (is_later) {
    accepted.why = fmt::format("it does not fit under the cap of now; from {} on, under {:.0f} W, ",
                               time_text(alone->from_seconds), alone->cap_watts);
    if (accepted.start_seconds) {
      accepted.start_seconds = std::max(*accepted.start_seconds, alone->from_seconds);
    }
  }
  accepted.why += fmt::format("alone it would run on {} of {} at {:.0f} W each ({})",
                              option.point.ranks, state.types[option.point.type].name,
                              option.point.limit_watts, uncertainty_text(p));
  if (!job.is_dependent) expect_fall(state, job, accepted);
  expect_joules(state, job, accepted);
  return accepted;
}

void keep_acceptance(State& state, const Job& job, Accepted accepted) {
  if (accepted.request_id == job.submit_id) accepted.request_id = {};
  if (accepted.name == job.request.name) accepted.name = {};
  if (accepted.overrides == job.request.overrides) accepted.overrides = {};
  state.acceptances[job.id] = std::move(accepted);
}

std::optional<Accepted> acceptance_of(const State& state, JobId id) {
  const auto job = state.jobs.find(id);
  const auto kept = state.acceptances.find(id);
  if (job == state.jobs.end() || kept == state.acceptances.end()) return std::nullopt;
  Accepted accepted = kept->second;
  if (accepted.request_id.empty()) accepted.request_id = job->second.submit_id;
  if (accepted.name.empty()) accepted.name = job->second.request.name;
  if (accepted.overrides.empty()) accepted.overrides = job->second.request.overrides;
  return accepted;
}

}  // namespace wattle::scheduler
