#include "scheduler/core/engine/weight.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace wattle::scheduler {
namespace {

/// 1 without a deadline, more the more of the job's best speed it needs to meet it.
double urgency(const Job& job, const Options& options, double now_seconds) {
  const double units_left = job.request.work.units - job.units_done;
  if (!job.request.deadline_seconds || job.request.work.units <= 0 || units_left <= 0) return 1;
  const double seconds = *job.request.deadline_seconds - now_seconds;
  double best = 0;
  for (const Option& option : options) best = std::max(best, option.performance.units_per_second);
  if (seconds <= 0 || best <= 0) return 1;
  const double share = units_left / seconds / best;
  return share > 1 ? 1 : 1 + 8 * share * share;
}

double lift_of(double priority) { return std::exp2(std::clamp(priority / 10, -10.0, 10.0)); }

/// How far a user's job may be lifted over others; infinite for an operator's.
double most_lift(const JobRequest& request, double priority) {
  if (!request.most_priority) return std::numeric_limits<double>::infinity();
  return std::max(priority, lift_of(static_cast<double>(*request.most_priority)));
}

}  // namespace

double weight_of(const State& state, const Job& job, const Options& options, double now_seconds) {
  constexpr double kStarvingSeconds = 86400;
  const double priority = lift_of(job.request.priority);
  const double waited = job.run ? 0 : std::max(0.0, now_seconds - job.eligible_seconds);
  const double age = 1 + waited / state.options.aging_seconds;
  const double lift = priority * urgency(job, options, now_seconds) * age;
  const double most = most_lift(job.request, priority) * (1 + waited / kStarvingSeconds);
  return state.tenants.at(job.request.tenant).weight * std::min(lift, most);
}

}  // namespace wattle::scheduler
