#include "scheduler/core/engine/joule_claims.h"

#include <algorithm>
#include <utility>

namespace wattle::scheduler {
namespace {

/// Until a run is done it has a lease, see lease_seconds() in budgets.cpp, and what a checkpoint
/// takes.
constexpr double kTailSeconds = 15;

/// What its shares may use of their leases yet.
double unused_lease(const State& state, const Run& run) {
  double joules = 0;
  for (const NodeShare& share : run.shares) {
    if (share.gone) continue;
    const double used = state.joules.reported(run.token, share.node);
    joules += std::max(0.0, state.joules.leased(run.token, share.node) - used);
  }
  return joules;
}

/// Beyond its leases, and by how much that may be too little.
double expected_joules(const State& state, const Job& job, const OperatingPoint& point,
                       double now_seconds) {
  const auto rest = rest_seconds(state, job, point);
  if (!rest) return 0;
  const double period =
      std::max(0.0, state.joules.period_end_seconds(job.request.tenant) - now_seconds);
  const Performance p = state.profiles.at(state.types, job, point);
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

std::optional<double> rest_seconds(const State& state, const Job& job,
                                   const OperatingPoint& point) {
  const WorkEstimate& work = job.request.work;
  const Performance p = state.profiles.at(state.types, job, point);
  const bool is_known = p.basis != Basis::kPrior || work.units_per_second > 0;
  if (work.units <= 0 || !is_known || p.units_per_second <= 0) return std::nullopt;
  return std::max(0.0, work.units - job.units_done) / p.units_per_second;
}

void JouleClaims::count() {
  if (std::exchange(is_counted_, true)) return;
  for (JobId id : state_.running) {
    const Job& job = state_.jobs.at(id);
    if (!is_stopped_for_good(*job.run)) claim(job, job.run->point);
  }
  for (JobId id : state_.waiting) {
    const Job& job = state_.jobs.at(id);
    if (job.claims_since_seconds == 0 || !job.last_run) continue;
    const int type = job.last_run->type;
    claim(job, {type, job.last_run->ranks, state_.types[type].max_limit_watts});
  }
}

void JouleClaims::claim(const Job& job, const OperatingPoint& point) {
  if (!state_.joules.tenant_budget(job.request.tenant)) return;
  const double joules = expected_joules(state_, job, point, now_seconds_);
  Level& level = tenants_[job.request.tenant][job.request.priority];
  level.claims.push_back({job.claims_since_seconds, job.id, joules});
  level.joules += joules;
}

JouleClaims::Level* JouleClaims::level_of(const Job& job) {
  const auto tenant = tenants_.find(job.request.tenant);
  if (tenant == tenants_.end()) return nullptr;
  const auto level = tenant->second.find(job.request.priority);
  return level == tenant->second.end() ? nullptr : &level->second;
}

double JouleClaims::before(const Job& job) {
  if (!state_.joules.tenant_budget(job.request.tenant)) return 0;
  count();
  double joules = 0;
  for (const auto& [priority, level] : tenants_[job.request.tenant]) {
    if (priority > job.request.priority) joules += level.joules;
  }
  const Level* level = level_of(job);
  if (!level) return joules;
  if (job.claims_since_seconds == 0) return joules + level->joules;
  const std::pair place(job.claims_since_seconds, job.id);
  for (const Claim& claim : level->claims) {
    if (std::pair(claim.since_seconds, claim.job) < place) joules += claim.joules;
  }
  return joules;
}

void JouleClaims::start(const Job& job) {
  if (!is_counted_) return;
  lease(job, std::numeric_limits<double>::infinity());  // what it had between two runs
  claim(job, job.run->point);
}

void JouleClaims::lease(const Job& job, double joules) {
  Level* level = is_counted_ ? level_of(job) : nullptr;
  if (!level) return;
  for (Claim& claim : level->claims) {
    if (claim.job != job.id) continue;
    const double less = std::min(joules, claim.joules);
    claim.joules -= less;
    level->joules -= less;
  }
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
