#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "scheduler/core/domain/job.h"

namespace wattle::scheduler {

/// Which jobs wait for which others. The jobs of one request wait for the same, which is kept once:
/// the end of a job costs a look at the requests that wait for it, and at the jobs that go on, and
/// nothing of what waits for others.
class Dependencies {
 public:
  /// Of a job; those of other tenants may have the same name.
  using Owner = std::pair<std::string, std::string>;  ///< tenant and user

  /// The jobs of a request begin to wait for others, none of which is completed. REQUIRES: both
  /// ascend, neither is empty, and the jobs are newer than all that were added before.
  void add(const Owner& owner, std::vector<JobId> jobs, std::vector<JobId> after);
  /// The job waits for nothing any more; it need not have waited.
  void remove(JobId job);
  /// A job is completed. Gives those, ascending, that wait for nothing else.
  std::vector<JobId> complete(JobId id);

  /// What a job waits for, ascending. Good until the next change.
  const std::vector<JobId>& after(JobId job) const;
  /// Those that wait for a job, ascending.
  std::vector<JobId> waiting_for(JobId id) const;
  bool is_waited_for(JobId id) const { return requests_after_.contains(id); }
  /// All that wait for any, ascending.
  std::vector<JobId> waiting() const;
  /// Pairs of a job and one that it waits for: all of them, and an owner's.
  int64_t pairs() const { return pairs_; }
  int64_t pairs_of(const Owner& owner) const;

  /// Finds again what follows from the fields that visit() has.
  void rebuild();

  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("requests", s.requests_);
  }

 private:
  /// Of a request those that wait, and what for; never one without the other.
  struct Request {
    Owner owner;
    std::vector<JobId> jobs, after;
    template <class Self, class V>
    static void visit(Self& s, V&& v) {
      v("owner", s.owner), v("jobs", s.jobs), v("after", s.after);
    }
  };
  using Requests = std::map<JobId, Request>;  ///< by the first of their jobs when they were added

  Requests::const_iterator find(JobId job) const;
  void index(const Requests::value_type& request);
  void count(const Owner& owner, size_t pairs, int sign);

  Requests requests_;
  std::unordered_map<JobId, std::vector<JobId>> requests_after_;  ///< that wait for a job
  std::map<Owner, int64_t> pairs_of_;
  int64_t pairs_ = 0;
};

}  // namespace wattle::scheduler
