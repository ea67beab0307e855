#include "launch/wattle/commands/wait.h"

#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "launch/wattle/commands/client_command.h"

namespace wattle {
namespace {

/// A watch tells only what changes from now on: what was before is asked for this often.
constexpr double kWatchSeconds = 5;
constexpr std::chrono::milliseconds kPause(200);

/// What is known of the jobs that are waited for.
class Waiting {
 public:
  Waiting(const std::vector<int64_t>& jobs,
          const std::function<void(const v1::JobSummary&)>& change)
      : change_(change) {
    for (const int64_t job : jobs) states_[job] = v1::JOB_STATE_UNSPECIFIED;
  }

  void see(const v1::JobSummary& job) {
    const auto known = states_.find(job.job());
    if (known == states_.end() || is_finished(known->second)) return;
    const bool is_news = is_hopeless(job) && hopeless_.insert(job.job()).second;
    if (known->second == job.state() && !is_news) return;
    known->second = job.state();
    change_(job);
  }

  std::vector<int64_t> unfinished() const {
    std::vector<int64_t> jobs;
    for (const auto& [job, state] : states_) {
      if (!is_finished(state) && !hopeless_.contains(job)) jobs.push_back(job);
    }
    return jobs;
  }

  bool all_completed() const {
    for (const auto& [job, state] : states_) {
      if (state != v1::JOB_STATE_COMPLETED) return false;
    }
    return true;
  }

 private:
  const std::function<void(const v1::JobSummary&)>& change_;
  std::map<int64_t, v1::JobState> states_;
  std::set<int64_t> hopeless_;
};

}  // namespace

bool is_hopeless(const v1::JobSummary& job) {
  return !is_finished(job.state()) && job.reason() == "DependencyNeverSatisfied";
}

bool wait_until_finished(JobsClient& client, const std::vector<int64_t>& jobs,
                         const std::function<void(const v1::JobSummary&)>& change) {
  Waiting waiting(jobs, change);
  const int64_t watched = jobs.size() == 1 ? jobs[0] : 0;
  while (true) {
    for (const int64_t job : waiting.unfinished()) waiting.see(client.show(job).summary());
    if (waiting.unfinished().empty()) return waiting.all_completed();
    client.watch(watched, kWatchSeconds, [&](const v1::JobSummary& job) {
      waiting.see(job);
      return !waiting.unfinished().empty();
    });
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace wattle
