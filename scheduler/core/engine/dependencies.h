#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scheduler/core/domain/job.h"

namespace wattle::scheduler {

/// Job::after from its other end: who waits for a job. With it, the end of a job costs what waits
/// for that job, whatever else waits for others. It follows from the jobs (rebuild.cpp).
///
/// REQUIRES of every job that is given: Job::after ascends, and is as it was when the job was added
/// but for what complete() has taken out of it.
class Dependencies {
 public:
  /// Jobs are added in the order of their numbers, each once.
  void add(const Job& job);
  /// The job waits for nothing any more.
  void remove(const Job& job);
  /// A job is completed: takes it out of the Job::after of all that wait for it, and gives those,
  /// ascending, that wait for nothing else.
  std::vector<JobId> complete(JobId id, std::map<JobId, Job>& jobs);

  /// Those that wait for a job, ascending. Good until the next change.
  const std::vector<JobId>& waiting_for(JobId id) const;
  /// Pairs of a job and one that it waits for: all of them, and a user's. Users of other tenants
  /// may have the same name.
  int64_t pairs() const { return pairs_; }
  int64_t pairs_of(const std::string& tenant, const std::string& user) const;

 private:
  void count(const Job& job, int64_t change);

  std::unordered_map<JobId, std::vector<JobId>> waiting_for_;
  std::map<std::pair<std::string, std::string>, int64_t> pairs_of_;  ///< by tenant and user
  int64_t pairs_ = 0;
};

}  // namespace wattle::scheduler
