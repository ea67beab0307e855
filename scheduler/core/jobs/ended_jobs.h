#pragma once

#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "scheduler/core/domain/job.h"

namespace wattle::scheduler {

/// The jobs that have ended and are remembered: how much of whom, and which of them go first.
class EndedJobs {
 public:
  /// It has ended, and Job::kept_bytes says how much is kept of it: neither changes any more.
  void add(const Job& job);

  /// When the oldest ended; infinite if there is none.
  double oldest_seconds() const;
  /// The sum over all of them.
  int64_t kept_bytes() const { return kept_bytes_; }
  /// How many ended how.
  const std::map<JobState, int64_t>& by_state() const { return by_state_; }

  /// Whether another job still waits for it.
  using IsNeeded = std::function<bool(JobId)>;

  /// Takes out those that ended at this time or before, but not the needed ones.
  void take_old(double ended_seconds, const IsNeeded& is_needed, std::set<JobId>& taken);
  /// Takes out until at most so many bytes are kept, or only needed ones are left: always the
  /// oldest of the tenant that then has the most bytes (of several, the one that is last by name).
  void take_surplus(int64_t most_bytes, const IsNeeded& is_needed, std::set<JobId>& taken);

 private:
  struct Kept {
    int64_t bytes = 0;
    JobState state = JobState::kCompleted;
  };
  using ByAge = std::map<std::pair<double, JobId>, Kept>;
  using Place = ByAge::iterator;
  struct OfTenant {
    ByAge by_age;
    int64_t kept_bytes = 0;
  };
  Place take(OfTenant& tenant, Place job, std::set<JobId>& taken);
  void drop_empty();

  std::map<std::string, OfTenant> tenants_;
  int64_t kept_bytes_ = 0;
  std::map<JobState, int64_t> by_state_;
};

}  // namespace wattle::scheduler
