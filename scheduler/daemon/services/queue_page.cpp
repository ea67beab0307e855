#include "scheduler/daemon/services/queue_page.h"

#include <algorithm>
#include <set>

#include "scheduler/daemon/services/views.h"

namespace wattle::scheduler {
namespace {

constexpr int kPage = 500, kMostPage = 1000;
constexpr size_t kMostPageBytes = 2 << 20;  ///< a job of many nodes names all of them
constexpr int kMostLookedAt = 20000;

/// What a request asks for.
class Wanted {
 public:
  Wanted(const Caller& caller, const v1::QueueRequest& request)
      : caller_(caller),
        tenant_(request.tenant()),
        states_(request.states().begin(), request.states().end()) {
    const std::set<int> unended = {to_message(JobState::kPending), to_message(JobState::kRunning),
                                   to_message(JobState::kPreempted)};
    is_of_unended_ = states_.empty() ? !request.all() : std::ranges::includes(unended, states_);
  }

  bool is_of_unended() const { return is_of_unended_; }
  bool has(const Job& job) const {
    return caller_.may_see(job.request.tenant) &&
           (tenant_.empty() || tenant_ == job.request.tenant) &&
           (states_.empty() || states_.contains(to_message(job.state)));
  }

 private:
  const Caller& caller_;
  std::string tenant_;
  std::set<int> states_;
  bool is_of_unended_ = false;
};

/// The one with the next number, of all or of those that have not ended; nullptr if there is none.
const Job* next_job(const State& state, JobId after, bool unended) {
  if (!unended) {
    const auto next = state.jobs.upper_bound(after);
    return next == state.jobs.end() ? nullptr : &next->second;
  }
  JobId least = 0;
  for (const std::set<JobId>* jobs : {&state.waiting, &state.running}) {
    const auto next = jobs->upper_bound(after);
    if (next != jobs->end() && (least == 0 || *next < least)) least = *next;
  }
  return least == 0 ? nullptr : &state.jobs.at(least);
}

}  // namespace

v1::QueueResponse queue_page(const Caller& caller, const State& state,
                             const v1::QueueRequest& request) {
  v1::QueueResponse response;
  const Wanted wanted(caller, request);
  const int page = request.page_size() > 0 ? std::min(request.page_size(), kMostPage) : kPage;
  size_t bytes = 0;
  int looked_at = 0;
  JobId last = request.after_job();
  while (const Job* job = next_job(state, last, wanted.is_of_unended())) {
    if (response.jobs_size() == page || bytes > kMostPageBytes || looked_at == kMostLookedAt) {
      response.set_next_after_job(last);
      break;
    }
    ++looked_at;
    last = job->id;
    if (!wanted.has(*job)) continue;
    *response.add_jobs() = summary_of(state, *job);
    bytes += response.jobs(response.jobs_size() - 1).ByteSizeLong();
  }
  return response;
}

}  // namespace wattle::scheduler
