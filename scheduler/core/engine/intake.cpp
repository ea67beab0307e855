#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <variant>

#include "common/error.h"
#include "common/text.h"
#include "scheduler/core/domain/rank_counts.h"
#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {
namespace {

/// Pairs of a job that has not ended and one that it waits for, of a user and of all together: at
/// most so many entries, of some 20 bytes each, are copied with the state while the core is held.
constexpr int64_t kMostUserDependencies = 1'000'000, kMostDependencies = 10'000'000;

/// Of a job, far beyond what any has: sums, products and quotients of such numbers are finite.
constexpr double kMostUnits = 1e15;

/// "" or what of an estimate is more than is taken.
std::string excess_of(const WorkEstimate& work) {
  if (work.kind.size() > 2 * kMostNameBytes) {
    return fmt::format("work.kind: expected at most {} bytes, got {}", 2 * kMostNameBytes,
                       work.kind.size());
  }
  if (work.rank_counts.size() > kMostGivenCounts) {
    return fmt::format("work.rank_counts: expected at most {}, got {}", kMostGivenCounts,
                       work.rank_counts.size());
  }
  if (!(work.units >= 0 && work.units <= kMostUnits)) {
    return fmt::format("work.units: expected 0 to {:g}, got {}", kMostUnits, work.units);
  }
  if (work.units_per_second != 0 && !is_plausible_rate(work.units_per_second)) {
    return fmt::format("work.units_per_second: expected 0, or {:g} to {:g}, got {}", kLeastRate,
                       kMostRate, work.units_per_second);
  }
  return "";
}

/// The client may be anyone's: "" or what of the request is more than the core keeps or walks over.
std::string excess_of(const Submit& event) {
  if (event.name.size() > kMostNameBytes) {
    return fmt::format("run.name: expected at most {} bytes, got {}", kMostNameBytes,
                       event.name.size());
  }
  const auto excesses = excesses_of(event.spec);
  if (!excesses.empty()) {
    return fmt::format("job.{}: {}", excesses.front().first, excesses.front().second);
  }
  for (const WorkEstimate& work : event.point_work) {
    if (std::string wrong = excess_of(work); !wrong.empty()) return wrong;
  }
  return excess_of(event.work);
}

JobRequest request_of(const Submit& event, std::vector<std::string> overrides, size_t index,
                      size_t jobs) {
  JobRequest request;
  request.name = jobs > 1 ? fmt::format("{}[{}]", event.name, index) : event.name;
  request.tenant = event.spec.tenant;
  request.user = event.submitter.user;
  request.most_priority = event.submitter.most_priority;
  request.priority = static_cast<int>(event.spec.priority);
  request.min_ranks = static_cast<int>(event.spec.ranks.min);
  request.max_ranks = static_cast<int>(event.spec.ranks.max);
  if (event.spec.deadline) request.deadline_seconds = parse_utc_time(*event.spec.deadline);
  request.energy_budget_joules = event.spec.energy_budget_joules;
  request.overrides = std::move(overrides);
  request.work = event.point_work.empty() ? event.work : event.point_work[index];
  return request;
}

/// The jobs that `after` names: by number, or the newest submission of that name; only of the same
/// tenant, and no other tenant's job is told from one that is not there.
bool resolve(const State& state, const std::string& tenant, const std::string& name,
             std::set<JobId>& jobs) {
  if (auto named = state.jobs_by_name.find({tenant, name}); named != state.jobs_by_name.end()) {
    jobs.insert(named->second.begin(), named->second.end());
    return true;
  }
  if (name.empty() || name.size() > 18 ||
      name.find_first_not_of("0123456789") != std::string::npos) {
    return false;
  }
  auto found = state.jobs.find(std::stoll(name));
  if (found == state.jobs.end() || found->second.request.tenant != tenant) return false;
  jobs.insert(found->first);
  return true;
}

/// "" or why not, with job.rank_counts.
std::string check(const State& state, Job& job, double now_seconds) {
  JobRequest& request = job.request;
  job.rank_counts = planned_counts(request.work.rank_counts, request.min_ranks, request.max_ranks);
  if (job.rank_counts.empty()) {
    auto& given = request.work.rank_counts;
    const bool cut = given.size() > kMostRankCounts;
    if (cut) given.resize(kMostRankCounts);
    return fmt::format("job.ranks: none of the feasible counts ({}{}) lies between {} and {}",
                       fmt::join(given, ", "), cut ? ", ..." : "", request.min_ranks,
                       request.max_ranks);
  }
  if (!request.work.rank_counts.empty()) request.work.rank_counts = job.rank_counts;
  if (request.deadline_seconds.value_or(now_seconds) < now_seconds) {
    return fmt::format("job.deadline: expected a time to come, got {}",
                       time_text(*request.deadline_seconds));
  }
  return never_fits(state, job, now_seconds);
}

/// "" or whose jobs would be too many.
std::string too_many(const State& state, const Submit& event, size_t jobs) {
  const auto fault = [&](const std::string& who, const std::string& user, int64_t most) {
    const auto found = state.unended_jobs.find({event.spec.tenant, user});
    const int64_t present = found == state.unended_jobs.end() ? 0 : found->second;
    if (most <= 0 || present + static_cast<int64_t>(jobs) <= most) return std::string();
    return fmt::format(
        "{} has {} jobs that have not ended, and at most {} at a time: {} more were to come; hand "
        "them in when others have ended, or ask the operator (max_jobs)",
        who, present, most, jobs);
  };
  const Submitter& by = event.submitter;
  std::string wrong;
  if (!by.user.empty()) wrong = fault("user " + by.user, by.user, by.most_user_jobs);
  return wrong.empty() ? fault("tenant " + event.spec.tenant, "", by.most_tenant_jobs) : wrong;
}

void take(Round& round, Job job) {
  State& state = round.state;
  if (job.request.energy_budget_joules) {
    state.joules.set_job_budget(job.id, *job.request.energy_budget_joules);
  }
  state.tenants.try_emplace(job.request.tenant, Tenant{job.request.tenant, 1});
  look_ahead(state);
  Accepted accepted = expect(state, job);
  join_queue(state, job);
  accepted.request_id = job.submit_id;
  const std::string why = accepted.why;
  keep_acceptance(state, job, accepted);
  const JobId id = job.id;
  state.waiting.insert(id);
  state.count_unended(job, 1);
  state.jobs.emplace(id, std::move(job));
  round.decide(id, std::move(accepted), "accepted: " + why);
}

void refuse_if(const std::string& wrong) {
  if (!wrong.empty()) throw Error(ErrorCode::kConfig, wrong);
}

const char* cancelled_when(const Job& job) {
  if (job.state == JobState::kPreempted) return "cancelled while it waited to go on";
  return job.last_run ? "cancelled while it waited for another try" : "cancelled before it ran";
}

void refuse_if_too_many(const State& state, const Submit& event, size_t jobs, size_t after) {
  const auto check = [&](int64_t present, const char* whose, int64_t most) {
    if (present + static_cast<int64_t>(jobs * after) <= most) return;
    refuse_if(
        fmt::format("job.after: each of {} jobs would wait for {} others, and {} such pairs are "
                    "there of {}, at most {} are taken: let one job wait for the others, and these "
                    "for it",
                    jobs, after, present, whose, most));
  };
  const Dependencies& all = state.dependencies;
  check(all.pairs_of({event.spec.tenant, event.submitter.user}), "this user",
        kMostUserDependencies);
  check(all.pairs(), "all users", kMostDependencies);
}

/// What each of a request's jobs waits for, ascending. Throws as jobs_of().
std::vector<JobId> after_of(const State& state, const Submit& event, size_t jobs) {
  const std::string& tenant = event.spec.tenant;
  std::set<JobId> after;
  std::set<std::string_view> names;
  for (const std::string& name : event.spec.after) {
    if (names.insert(name).second && !resolve(state, tenant, name, after)) {
      refuse_if(fmt::format("job.after: tenant {} has no job '{}'", tenant, name));
    }
  }
  std::erase_if(after,
                [&](JobId other) { return state.jobs.at(other).state == JobState::kCompleted; });
  if (!after.empty()) refuse_if_too_many(state, event, jobs, after.size());
  return {after.begin(), after.end()};
}

/// The overrides of each job of a request. Throws as jobs_of().
std::vector<std::vector<std::string>> points_of(const Submit& event) {
  refuse_if(excess_of(event));
  auto points = expand_sweep(event.spec.sweep);
  if (!event.point_work.empty() && event.point_work.size() != points.size()) {
    refuse_if(fmt::format("point_work: expected one for each of {} jobs of the sweep, got {}",
                          points.size(), event.point_work.size()));
  }
  return points;
}

/// The jobs of a request, checked. Throws Error(kConfig) that says why it is refused.
std::vector<Job> jobs_of(const State& state, const Submit& event,
                         std::vector<std::vector<std::string>> points, bool are_dependent,
                         double now_seconds) {
  std::vector<Job> jobs;
  for (size_t i = 0; i < points.size(); ++i) {
    Job job;
    job.id = state.last_job + 1 + static_cast<JobId>(i);
    job.request = request_of(event, std::move(points[i]), i, points.size());
    job.submit_id = event.request_id;
    job.is_dependent = are_dependent;
    job.profile = ProfileBook::page_name(job);
    job.submitted_seconds = job.eligible_seconds = now_seconds;
    refuse_if(check(state, job, now_seconds));
    jobs.push_back(std::move(job));
  }
  return jobs;
}

/// A request's jobs, checked, and what each of them waits for.
struct Intake {
  std::vector<Job> jobs;
  std::vector<JobId> after;
};

/// What comes of a request at a moment, in words or as jobs.
std::variant<Refused, Intake> intake_of(const State& state, const Submit& event,
                                        double now_seconds) {
  try {
    auto points = points_of(event);
    if (const std::string wrong = too_many(state, event, points.size()); !wrong.empty()) {
      return Refused{event.request_id, wrong, std::nullopt, true};
    }
    Intake intake;
    intake.after = after_of(state, event, points.size());
    intake.jobs = jobs_of(state, event, std::move(points), !intake.after.empty(), now_seconds);
    return intake;
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kConfig) throw;
    return Refused{event.request_id, e.what(), std::nullopt};
  }
}

/// Nothing for a job that can be cancelled.
std::optional<Refused> refusal_of(const State& state, const Cancel& event) {
  const auto found = state.jobs.find(event.job);
  const std::string id = std::to_string(event.job);
  if (found == state.jobs.end()) return Refused{id, fmt::format("there is no job {}", id), {}};
  const JobState now = found->second.state;
  if (!is_finished(now)) return std::nullopt;
  return Refused{id, fmt::format("job {} has ended already: {}", id, to_string(now)), {}};
}

}  // namespace

std::optional<Decisions> answer_without_change(const State& state, const Submit& event,
                                               double now_seconds) {
  if (state.jobs_of_request.contains(event.request_id)) return Decisions{};
  auto intake = intake_of(state, event, now_seconds);
  auto* refused = std::get_if<Refused>(&intake);
  return refused ? std::optional(Decisions{std::move(*refused)}) : std::nullopt;
}

std::optional<Decisions> answer_without_change(const State& state, const Cancel& event, double) {
  auto refused = refusal_of(state, event);
  return refused ? std::optional(Decisions{std::move(*refused)}) : std::nullopt;
}

void on(Round& round, const Submit& event) {
  State& state = round.state;
  if (state.jobs_of_request.contains(event.request_id)) return;
  auto intake = intake_of(state, event, state.now_seconds);
  if (auto* refused = std::get_if<Refused>(&intake)) return round.decide(0, *refused, "");
  auto& [jobs, after] = std::get<Intake>(intake);
  std::vector<JobId> ids;
  for (Job& job : jobs) {
    ids.push_back(job.id);
    state.jobs_by_name[{job.request.tenant, job.request.name}] = {job.id};
    take(round, std::move(job));
  }
  state.last_job = ids.back();
  state.jobs_by_name[{event.spec.tenant, event.name}] = ids;
  begin_to_wait(round, ids, std::move(after));
  state.jobs_of_request[event.request_id] = std::move(ids);
  state.new_job_event = state.events;
}

void on(Round& round, const Cancel& event) {
  if (auto refused = refusal_of(round.state, event)) return round.decide(0, *refused, "");
  Job& job = round.state.jobs.at(event.job);
  round.state.note_change();
  if (job.run) {
    job.run->stop_reason =
        Reason::kCancelled;  // also when it is stopped already for another reason
    stop_run(round, job, Reason::kCancelled, "cancelled");
  } else {
    round.change(job, JobState::kCancelled, Reason::kCancelled, cancelled_when(job));
    end_of_waiting(round, job);
  }
}

}  // namespace wattle::scheduler
