#include "scheduler/core/engine/joule_claims.h"

#include <algorithm>
#include <utility>

namespace wattle::scheduler {
namespace {

/// Until a run is done it has a lease, see lease_seconds() in budgets.cpp, and what a checkpoint
/// takes.
constexpr double kTailSeconds = 15;

}  // namespace

double unused_lease(const State& state, const Run& run) {
  double joules = 0;
  for (const NodeShare& share : run.shares) {
    if (share.gone) continue;
    const double used = state.joules.reported(run.token, share.node);
    joules += std::max(0.0, state.joules.leased(run.token, share.node) - used);
  }
  return joules;
}

namespace {

/// Beyond its leases, and by how much that may be too little.
double expected_joules(const State& state, const Job& job, const OperatingPoint& point,
                       double now_seconds) {
  const Performance p = state.profiles.at(state.types, job, point);
  const auto rest = rest_seconds(job, p);
  if (!rest) return 0;
  const double period =
      std::max(0.0, state.joules.period_end_seconds(job.request.tenant) - now_seconds);
  const double seconds = *rest * (1 + p.uncertainty) + kTailSeconds;
  double joules = p.watts * std::min(period, seconds);
  if (job.run) joules -= unused_lease(state, *job.run);
  if (const auto own = state.joules.job_left(job.id)) joules = std::min(joules, *own);
  return std::max(0.0, joules);
}

bool is_stopped_for_good(const Run& run) {
  return run.phase == Run::Phase::kStopping && run.stop_reason != Reason::kResize;
}

}  // namespace

std::optional<double> seconds_left(const Job& job, const Performance& p) {
  if (job.request.work.units <= 0 || p.units_per_second <= 0) return std::nullopt;
  return std::max(0.0, job.request.work.units - job.units_done) / p.units_per_second;
}

std::optional<double> rest_seconds(const Job& job, const Performance& p) {
  const bool is_known = p.basis != Basis::kPrior || job.request.work.units_per_second > 0;
  return is_known ? seconds_left(job, p) : std::nullopt;
}

std::optional<double> rest_seconds(const State& state, const Job& job,
                                   const OperatingPoint& point) {
  return rest_seconds(job, state.profiles.at(state.types, job, point));
}

void JouleClaims::count() {
  if (std::exchange(is_counted_, true)) return;
  for (JobId id : state_.running) {
    const Job& job = state_.jobs.at(id);
    if (!is_stopped_for_good(*job.run)) claim(job, job.run->point);
  }
  for (JobId id : state_.waiting) {
    const Job& job = state_.jobs.at(id);
    if (!job.claims_since_seconds || !job.last_run) continue;
    const int type = job.last_run->type;
    claim(job, {type, job.last_run->ranks, state_.types[type].max_limit_watts});
  }
  for (auto& [tenant, levels] : tenants_) {
    for (auto& [priority, level] : levels) order(level);
  }
}

void JouleClaims::claim(const Job& job, const OperatingPoint& point) {
  if (!state_.joules.tenant_budget(job.request.tenant)) return;
  const double joules = expected_joules(state_, job, point, now_seconds_);
  const double since = job.claims_since_seconds.value_or(now_seconds_);
  tenants_[job.request.tenant][job.request.priority].claims.push_back({since, job.id, joules});
}

void JouleClaims::order(Level& level) {
  std::ranges::sort(level.claims, {},
                    [](const Claim& claim) { return std::pair(claim.since_seconds, claim.job); });
  for (const Claim& claim : std::exchange(level.claims, {})) append(level, claim);
}

void JouleClaims::append(Level& level, const Claim& claim) {
  places_[claim.job] = {&level, level.claims.size()};
  level.claims.push_back(claim);
  level.joules += claim.joules;
  double sum = claim.joules;
  const size_t last = level.claims.size(), first = last - (last & -last);
  for (size_t i = last - 1; i > first; i -= i & -i) sum += level.sums[i - 1];
  level.sums.push_back(sum);
}

void JouleClaims::change(const Place& place, double joules) {
  auto& [level, index] = place;
  level->claims[index].joules += joules;
  level->joules += joules;
  for (size_t i = index + 1; i <= level->sums.size(); i += i & -i) level->sums[i - 1] += joules;
}

double JouleClaims::before(const Job& job) {
  const auto& tenant = job.request.tenant;
  if (!state_.joules.tenant_budget(tenant)) return 0;
  count();
  double joules = 0;
  for (const auto& [priority, level] : tenants_[tenant]) {
    if (priority < job.request.priority) break;
    if (priority > job.request.priority || !places_.contains(job.id)) joules += level.joules;
  }
  const auto place = places_.find(job.id);
  if (place == places_.end()) return joules;
  const auto& [level, index] = place->second;
  for (size_t i = index; i > 0; i -= i & -i) joules += level->sums[i - 1];
  return joules;
}

void JouleClaims::start(const Job& job) {
  if (!is_counted_ || !state_.joules.tenant_budget(job.request.tenant)) return;
  const double joules = expected_joules(state_, job, job.run->point, now_seconds_);
  const auto place = places_.find(job.id);
  if (place != places_.end()) {  // that it had between two runs
    return change(place->second, joules - place->second.level->claims[place->second.index].joules);
  }
  append(tenants_[job.request.tenant][job.request.priority],
         {job.claims_since_seconds.value_or(now_seconds_), job.id, joules});
}

void JouleClaims::lease(const Job& job, double joules) {
  const auto place = places_.find(job.id);
  if (place == places_.end()) return;
  const double claimed = place->second.level->claims[place->second.index].joules;
  change(place->second, -std::min(joules, claimed));
}

std::map<std::string, std::map<int, double>> JouleClaims::totals() {
  count();
  std::map<std::string, std::map<int, double>> totals;
  for (const auto& [tenant, levels] : tenants_) {
    for (const auto& [priority, level] : levels) totals[tenant][priority] = level.joules;
  }
  return totals;
}

}  // namespace wattle::scheduler
