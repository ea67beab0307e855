#include <algorithm>

#include "scheduler/core/engine/joule_claims.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

/// An outlook is good for so long, for each job, node and change of a cap that it was made from.
constexpr double kSecondsPerEntry = 1e-3;

/// Takes what runs hold, or starts that are planned, until they are expected to end.
class Holdings {
 public:
  Holdings(State& state, const Snapshot& snapshot) : state_(state), snapshot_(snapshot) {
    free_.watts = snapshot.watts;
    for (const TypeView& type : snapshot.types) free_.devices.push_back(type.capacity);
  }

  /// `ranks` of them come free.
  void take(const Job& job, const OperatingPoint& point, int ranks) {
    const double watts = run_watts(snapshot_, point);
    free_.devices[point.type] -= ranks;
    free_.watts -= watts;
    const Performance p = state_.profiles.at(state_.types, job, point);
    const auto seconds = seconds_left(job, p);
    if (seconds) releases_.push_back({state_.now_seconds + *seconds, point.type, ranks, watts});
  }
  /// What a later cap leaves more or less.
  void change(const std::vector<CapChange>& watts) {
    for (size_t i = 1; i < watts.size(); ++i) {
      releases_.push_back({watts[i].seconds, 0, 0, watts[i].watts - watts[i - 1].watts});
    }
  }
  Timeline timeline() { return {state_.now_seconds, std::move(free_), std::move(releases_)}; }

 private:
  State& state_;
  const Snapshot& snapshot_;
  Amount free_;
  std::vector<Release> releases_;
};

/// What those of at least a priority have before a new job, together.
QueueAhead ahead_of(const Outlook& outlook, int priority) {
  QueueAhead sum;
  const size_t types = outlook.capacity.size();
  sum.device_seconds.resize(types);
  sum.claimed.devices.resize(types);
  for (auto level = outlook.queue.lower_bound(priority); level != outlook.queue.end(); ++level) {
    const QueueAhead& queued = level->second;
    sum.holds_all = sum.holds_all || queued.holds_all;
    sum.claimed.watts += queued.claimed.watts;
    for (size_t type = 0; type < types; ++type) {
      sum.device_seconds[type] += queued.device_seconds[type];
      sum.claimed.devices[type] += queued.claimed.devices[type];
    }
  }
  return sum;
}

/// Whether the job finds its devices and watts free now, beside those before it.
bool is_free_now(const State& state, const Job& job, int type, const QueueAhead& ahead) {
  if (ahead.holds_all) return false;
  const Amount& free = state.outlook.timeline.free();
  return free.devices[type] >= job.rank_counts.front() + ahead.claimed.devices[type] &&
         free.watts + kRoundingWatts >= least_watts(state, job, type) + ahead.claimed.watts;
}

/// A job's part of what a new one finds before it.
struct QueuedJob {
  int type = 0;
  double device_seconds = 0;
  int claimed_devices = 0;  ///< 0 = it finds too few free now
  double claimed_watts = 0;
};

/// Nothing for a job that waits for something else than its turn.
std::optional<QueuedJob> queued(State& state, const Job& job, const QueueAhead& ahead) {
  const auto options = state.profiles.options(state.types, job);
  const bool has_no_turn = job.is_dependent || job.reason == Reason::kEnergyBudget;
  if (has_no_turn || options->empty() || !has_joules(state, job, 0, 0)) return std::nullopt;
  const int ranks = job.rank_counts.front();
  std::optional<QueuedJob> found;
  for (int type = 0; type < static_cast<int>(state.outlook.capacity.size()); ++type) {
    if (ranks > std::min(state.outlook.capacity[type], state.widest[type])) continue;
    if (!found) found = QueuedJob{type};
    if (job.not_before_seconds > state.now_seconds || !is_free_now(state, job, type, ahead))
      continue;
    found = QueuedJob{type, 0, ranks, least_watts(state, job, type)};
    break;
  }
  if (!found) return std::nullopt;
  const auto option = std::ranges::find_if(
      *options, [&](const Option& option) { return option.point.type == found->type; });
  found->device_seconds = ranks * seconds_left(job, option->performance).value_or(kForever);
  return found;
}

void add(const State& state, const QueuedJob& job, QueueAhead& queue) {
  queue.device_seconds.resize(state.outlook.capacity.size());
  queue.claimed.devices.resize(state.outlook.capacity.size());
  queue.device_seconds[job.type] += job.device_seconds;
  queue.claimed.devices[job.type] += job.claimed_devices;
  queue.claimed.watts += job.claimed_watts;
  const bool holds_all = job.claimed_devices == 0 && state.policy->is_strict();
  queue.holds_all = queue.holds_all || holds_all;
}

/// Those that wait, without those that are about to start.
void look_at_queue(State& state, const std::set<JobId>& waiting) {
  std::vector<const Job*> jobs;
  for (JobId id : waiting) jobs.push_back(&state.jobs.at(id));
  std::ranges::stable_sort(jobs, {}, [](const Job* job) { return -job->request.priority; });
  QueueAhead ahead = ahead_of(state.outlook, 0);
  for (const Job* job : jobs) {
    const auto share = queued(state, *job, ahead);
    if (!share) continue;
    add(state, *share, ahead);
    add(state, *share, state.outlook.queue[job->request.priority]);
  }
}

}  // namespace

void look_ahead(State& state) {
  Outlook& outlook = state.outlook;
  const size_t entries =
      state.running.size() + state.waiting.size() + state.nodes.size() + outlook.caps.size();
  const double fresh_seconds = kSecondsPerEntry * static_cast<double>(entries);
  if (state.now_seconds < outlook.made_seconds + fresh_seconds) return;
  const Snapshot snapshot = make_snapshot(state, state.now_seconds);
  outlook = {};
  outlook.made_seconds = state.now_seconds;
  for (const TypeView& type : snapshot.types) outlook.capacity.push_back(type.capacity);
  outlook.caps = caps_ahead(state);
  Holdings holdings(state, snapshot);
  if (!state.types.empty()) holdings.change(watts_ahead(state));
  for (JobId id : state.running) {
    const Job& job = state.jobs.at(id);
    if (steerable(state, job)) {
      holdings.take(job, job.run->point, stays(state, job) ? 0 : job.run->point.ranks);
    }
  }
  std::set<JobId> waiting = state.waiting;
  for (const PendingStart& start : state.pending_starts) {
    const Job& job = state.jobs.at(start.job);
    if (waiting.erase(job.id) > 0) holdings.take(job, start.point, start.point.ranks);
  }
  outlook.timeline = holdings.timeline();
  outlook.kept_joules = JouleClaims(state, state.now_seconds).totals();
  look_at_queue(state, waiting);
}

void join_queue(State& state, const Job& job) {
  const int priority = job.request.priority;
  const auto share = queued(state, job, ahead_of(state.outlook, priority));
  if (share) add(state, *share, state.outlook.queue[priority]);
}

double kept_joules(const State& state, const Job& job) {
  const auto tenant = state.outlook.kept_joules.find(job.request.tenant);
  if (tenant == state.outlook.kept_joules.end()) return 0;
  double joules = 0;
  const auto& levels = tenant->second;
  for (auto level = levels.lower_bound(job.request.priority); level != levels.end(); ++level) {
    joules += level->second;
  }
  return joules;
}

std::optional<double> expected_start(const State& state, const Job& job) {
  const Outlook& outlook = state.outlook;
  const QueueAhead ahead = ahead_of(outlook, job.request.priority);
  const int ranks = job.rank_counts.front();
  std::optional<double> earliest;
  for (int type = 0; type < static_cast<int>(outlook.capacity.size()); ++type) {
    if (ranks > std::min(outlook.capacity[type], state.widest[type])) continue;
    if (is_free_now(state, job, type, ahead)) return state.now_seconds;
    const auto start = outlook.timeline.earliest_behind(ahead.device_seconds[type], type, ranks,
                                                        least_watts(state, job, type));
    if (start && *start < earliest.value_or(kForever)) earliest = start;
  }
  if (!earliest) return std::nullopt;
  return std::max(*earliest, state.now_seconds);
}

}  // namespace wattle::scheduler
