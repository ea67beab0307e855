#include "scheduler/core/policy/turn.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "common/text.h"

namespace wattle::scheduler {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

/// A job that is between two runs will have at least its fewest ranks again.
std::vector<std::optional<OperatingPoint>> runs_of(const Snapshot& snapshot) {
  std::vector<std::optional<OperatingPoint>> runs;
  runs.reserve(snapshot.jobs.size());
  for (const JobView& job : snapshot.jobs) {
    const bool claims = job.resizing && !job.options->empty();
    runs.push_back(claims ? job.options->front().point : job.current);
  }
  return runs;
}

/// The first of the weightiest that have waited and that what is free does not hold, if they had
/// their place were nothing else running.
std::optional<size_t> longest_waiting(const Snapshot& snapshot, double reserve_after_seconds,
                                      const Amount& free) {
  const Amount all = free_beside(snapshot, {});
  std::optional<size_t> head;
  for (size_t j = 0; j < snapshot.jobs.size(); ++j) {
    const JobView& job = snapshot.jobs[j];
    if (job.current || job.resizing || job.waited_seconds < reserve_after_seconds) continue;
    if (head && snapshot.jobs[*head].weight >= job.weight) continue;
    if (!holds(snapshot, free, j) && holds(snapshot, all, j)) head = j;
  }
  return head;
}

}  // namespace

Turn::Turn(const Snapshot& snapshot, double reserve_after_seconds) : snapshot_(snapshot) {
  const auto runs = runs_of(snapshot);
  const auto head = longest_waiting(snapshot, reserve_after_seconds, free_beside(snapshot, runs));
  if (!head) return;
  head_ = *head;
  kept_ = reserve(snapshot, head_, runs);
}

Turn::Share Turn::share_of(size_t job) {
  Share share;
  const JobView& view = snapshot_.jobs[job];
  const bool goes_first = !view.current && view.weight > snapshot_.jobs[head_].weight;
  if (!kept_ || job == head_ || view.resizing || goes_first || view.options->empty()) return share;
  share.job_ = &view;
  share.seconds_ = kept_->start_seconds.value_or(snapshot_.now_seconds) - snapshot_.now_seconds;
  share.spare_ranks_.assign(snapshot_.types.size(), 0);
  if (view.current) return share;
  double most_watts = 0;
  for (size_t type = 0; type < share.spare_ranks_.size(); ++type) {
    const auto point = least_point(snapshot_, job, static_cast<int>(type));
    if (!point || point->ranks > kept_->spare.devices[type]) continue;
    const double watts = lowest_watts(snapshot_, *point);
    if (watts > kept_->spare.watts) continue;
    share.spare_ranks_[type] = point->ranks;
    kept_->spare.devices[type] -= point->ranks;
    most_watts = std::max(most_watts, watts);
  }
  kept_->spare.watts -= most_watts;
  return share;
}

bool Turn::Share::allows(const Option& option) const {
  if (!job_) return true;
  const OperatingPoint& point = option.point;
  const auto& now = job_->current;
  if (now && now->type == point.type && point.ranks <= now->ranks) return true;
  if (point.ranks == spare_ranks_[point.type]) return true;
  const double rate = option.performance.units_per_second;
  return rate > 0 && job_->units_left.value_or(kForever) / rate <= seconds_;
}

Choice Turn::refusal(size_t job) const {
  Choice choice;
  const JobView& view = snapshot_.jobs[job];
  choice.reason = is_of(job) ? Reason::kReserved : Reason::kPriority;
  if (choice.reason == view.last_reason) return choice;
  if (!is_of(job)) {
    choice.why = "what comes free is kept for a job that weighs more and has waited longer";
    return choice;
  }
  const std::string& type = snapshot_.types[kept_->point.type].type.name;
  choice.why = fmt::format("{} of {} are kept for it as they come free", kept_->point.ranks, type);
  if (!kept_->start_seconds) return choice;
  choice.why += ", all expected by " + time_text(*kept_->start_seconds);
  return choice;
}

}  // namespace wattle::scheduler
