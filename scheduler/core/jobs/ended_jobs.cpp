#include "scheduler/core/jobs/ended_jobs.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace wattle::scheduler {

void EndedJobs::add(const Job& job) {
  OfTenant& tenant = tenants_[job.request.tenant];
  const Kept kept{job.kept_bytes, job.state};
  if (!tenant.by_age.emplace(std::pair(job.ended_seconds, job.id), kept).second) return;
  tenant.kept_bytes += job.kept_bytes;
  kept_bytes_ += job.kept_bytes;
  ++by_state_[job.state];
}

double EndedJobs::oldest_seconds() const {
  double oldest = std::numeric_limits<double>::infinity();
  for (const auto& [name, tenant] : tenants_) {
    oldest = std::min(oldest, tenant.by_age.begin()->first.first);
  }
  return oldest;
}

EndedJobs::Place EndedJobs::take(OfTenant& tenant, Place job, std::set<JobId>& taken) {
  taken.insert(job->first.second);
  const Kept& kept = job->second;
  tenant.kept_bytes -= kept.bytes;
  kept_bytes_ -= kept.bytes;
  --by_state_[kept.state];
  return tenant.by_age.erase(job);
}

void EndedJobs::drop_empty() {
  std::erase_if(tenants_, [](const auto& tenant) { return tenant.second.by_age.empty(); });
}

void EndedJobs::take_old(double ended_seconds, const IsNeeded& is_needed, std::set<JobId>& taken) {
  for (auto& [name, tenant] : tenants_) {
    for (Place next = tenant.by_age.begin();
         next != tenant.by_age.end() && next->first.first <= ended_seconds;) {
      next = is_needed(next->first.second) ? std::next(next) : take(tenant, next, taken);
    }
  }
  drop_empty();
}

void EndedJobs::take_surplus(int64_t most_bytes, const IsNeeded& is_needed,
                             std::set<JobId>& taken) {
  struct Giver {
    OfTenant* tenant;
    Place next;
  };
  std::map<std::pair<int64_t, std::string_view>, Giver> givers;
  for (auto& [name, tenant] : tenants_) {
    givers.emplace(std::pair(tenant.kept_bytes, std::string_view(name)),
                   Giver{&tenant, tenant.by_age.begin()});
  }
  while (kept_bytes_ > most_bytes && !givers.empty()) {
    auto most = givers.extract(std::prev(givers.end()));
    auto& [tenant, next] = most.mapped();
    while (next != tenant->by_age.end() && is_needed(next->first.second)) ++next;
    if (next == tenant->by_age.end()) continue;
    next = take(*tenant, next, taken);
    most.key().first = tenant->kept_bytes;
    givers.insert(std::move(most));
  }
  drop_empty();
}

}  // namespace wattle::scheduler
