#include "scheduler/core/joules/joule_ledger.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace wattle::scheduler {

std::optional<double> JouleLedger::Account::left() const {
  if (!budget) return std::nullopt;
  return std::clamp(*budget - spent - leased, 0.0, *budget);
}

void JouleLedger::set_budget(const std::string& tenant, std::optional<double> joules,
                             double period_seconds, double now_seconds) {
  constexpr double kDefaultPeriodSeconds = 30 * 86400.0;
  Account& account = tenants_[tenant];
  account.budget = joules;
  if (account.period_seconds <= 0) {
    account.spent = 0;  // it was counted since ever, and is of no period
    ++account.period;
    if (period_seconds <= 0) period_seconds = kDefaultPeriodSeconds;
  }
  if (period_seconds > 0 && account.period_seconds != period_seconds) {
    account.period_seconds = period_seconds;
    account.period_end = now_seconds + period_seconds;
  }
}

void JouleLedger::set_job_budget(JobId job, double joules) { jobs_[job].budget = joules; }

bool JouleLedger::roll(double now_seconds) {
  bool rolled = false;
  for (auto& [name, account] : tenants_) {
    if (account.period_seconds <= 0 || now_seconds < account.period_end) continue;
    const double periods =
        std::floor((now_seconds - account.period_end) / account.period_seconds) + 1;
    account.period_end += periods * account.period_seconds;
    account.spent = 0;
    ++account.period;
    rolled = true;
  }
  return rolled;
}

double JouleLedger::next_period() const {
  double next = std::numeric_limits<double>::infinity();
  for (const auto& [name, account] : tenants_) {
    if (account.period_seconds > 0) next = std::min(next, account.period_end);
  }
  return next;
}

JouleLedger::Share* JouleLedger::find(Token token, NodeId node) {
  auto found = shares_.find({token, node});
  return found == shares_.end() ? nullptr : &found->second;
}

const JouleLedger::Share* JouleLedger::find(Token token, NodeId node) const {
  auto found = shares_.find({token, node});
  return found == shares_.end() ? nullptr : &found->second;
}

void JouleLedger::open(Token token, NodeId node, JobId job, const std::string& tenant) {
  shares_[{token, node}] = {job, tenant};
}

/// Moves the accounts' leased joules to what the share may still spend.
void JouleLedger::set_outstanding(Share& share) {
  const double outstanding = share.open ? std::max(0.0, share.lease - share.charged) : 0;
  const double change = outstanding - share.outstanding;
  tenants_[share.tenant].leased += change;
  jobs_[share.job].leased += change;
  share.outstanding = outstanding;
}

double JouleLedger::offer(Token token, NodeId node, double total) const {
  const Share* share = find(token, node);
  if (!share || !share->open) return 0;
  // What it used before it was limited is spent, and needs no lease.
  const double base = std::max(share->lease, share->charged);
  double grow = total - base;
  for (const std::optional<double>& left : {tenant_left(share->tenant), job_left(share->job)}) {
    if (left) grow = std::min(grow, *left);
  }
  return base + std::max(0.0, grow);
}

double JouleLedger::lease(Token token, NodeId node, double total) {
  const double offered = offer(token, node, total);
  Share* share = find(token, node);
  if (!share || !share->open) return 0;
  share->lease = offered;
  set_outstanding(*share);
  return share->lease;
}

/// What was charged in a period that is over stays there: the present one neither gains by a
/// correction nor can it be paid twice.
void JouleLedger::charge(Share& share, double total) {
  const double change = total - share.charged;
  Account& tenant = tenants_[share.tenant];
  if (change > 0 || tenant.period == share.estimate_period) tenant.spent += change;
  jobs_[share.job].spent += change;
  share.charged = total;
  set_outstanding(share);
}

void JouleLedger::report(Token token, NodeId node, double total) {
  Share* share = find(token, node);
  if (!share) return;
  // Reports may arrive out of order; only what was estimated beyond them can be too much.
  charge(*share, std::max(total, share->charged - share->estimate));
  share->estimate = 0;
  share->estimated = false;
}

void JouleLedger::estimate(Token token, NodeId node, double joules) {
  Share* share = find(token, node);
  if (!share) return;
  const Account& tenant = tenants_[share->tenant];
  const bool limited = tenant.budget || jobs_[share->job].budget;
  const double charged = limited ? std::min(joules, share->outstanding) : joules;
  charge(*share, share->charged + charged);
  share->estimate += charged;
  share->estimate_period = tenant.period;
  share->estimated = true;
  share->open = false;
  set_outstanding(*share);
}

void JouleLedger::close(Token token, NodeId node) {
  Share* share = find(token, node);
  if (!share) return;
  share->open = false;
  set_outstanding(*share);
  shares_.erase({token, node});
}

void JouleLedger::forget_jobs(const std::set<JobId>& jobs) {
  for (const JobId job : jobs) jobs_.erase(job);
  std::erase_if(shares_, [&](const auto& share) { return jobs.contains(share.second.job); });
}

std::optional<double> JouleLedger::tenant_left(const std::string& tenant) const {
  auto found = tenants_.find(tenant);
  return found == tenants_.end() ? std::nullopt : found->second.left();
}

std::optional<double> JouleLedger::job_left(JobId job) const {
  auto found = jobs_.find(job);
  return found == jobs_.end() ? std::nullopt : found->second.left();
}

std::optional<double> JouleLedger::tenant_budget(const std::string& tenant) const {
  auto found = tenants_.find(tenant);
  return found == tenants_.end() ? std::nullopt : found->second.budget;
}

double JouleLedger::tenant_spent(const std::string& tenant) const {
  auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second.spent;
}

double JouleLedger::job_spent(JobId job) const {
  auto found = jobs_.find(job);
  return found == jobs_.end() ? 0 : found->second.spent;
}

double JouleLedger::period_seconds(const std::string& tenant) const {
  auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second.period_seconds;
}

double JouleLedger::period_end_seconds(const std::string& tenant) const {
  auto found = tenants_.find(tenant);
  return found == tenants_.end() ? 0 : found->second.period_end;
}

double JouleLedger::leased(Token token, NodeId node) const {
  const Share* share = find(token, node);
  return share ? share->lease : 0;
}

double JouleLedger::reported(Token token, NodeId node) const {
  const Share* share = find(token, node);
  return share ? share->charged : 0;
}

double JouleLedger::estimated(Token token, NodeId node) const {
  const Share* share = find(token, node);
  return share ? share->estimate : 0;
}

bool JouleLedger::limited(Token token, NodeId node) const {
  const Share* share = find(token, node);
  if (!share) return false;
  auto tenant = tenants_.find(share->tenant);
  auto job = jobs_.find(share->job);
  return (tenant != tenants_.end() && tenant->second.budget) ||
         (job != jobs_.end() && job->second.budget);
}

}  // namespace wattle::scheduler
