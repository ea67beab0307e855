#include "scheduler/core/engine/weight.h"

#include <algorithm>
#include <cmath>

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

}  // namespace

double weight_of(const State& state, const Job& job, const Options& options, double now_seconds) {
  const double priority = std::exp2(std::clamp(job.request.priority / 10.0, -10.0, 10.0));
  const double waited = job.run ? 0 : now_seconds - job.eligible_seconds;
  const double age = 1 + std::max(0.0, waited) / state.options.aging_seconds;
  return state.tenants.at(job.request.tenant).weight * priority * age *
         urgency(job, options, now_seconds);
}

}  // namespace wattle::scheduler
