#include "scheduler/core/policy/policy.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"
#include "scheduler/core/policy/policies.h"

namespace wattle::scheduler {

OperatingPoint at_lowest_limit(const Snapshot& snapshot, const OperatingPoint& point) {
  return {point.type, point.ranks, snapshot.types[point.type].type.min_limit_watts};
}

double lowest_watts(const Snapshot& snapshot, const OperatingPoint& point) {
  return run_watts(snapshot, at_lowest_limit(snapshot, point));
}

std::optional<OperatingPoint> least_point(const Snapshot& snapshot, size_t job, int type) {
  for (const Option& option : *snapshot.jobs[job].options) {
    if (option.point.type != type) continue;
    if (option.point.ranks > snapshot.types[type].widest) return std::nullopt;
    return at_lowest_limit(snapshot, option.point);
  }
  return std::nullopt;
}

bool is_in_service(const Snapshot& snapshot, const JobView& job) {
  return std::ranges::any_of(*job.options, [&](const Option& option) {
    const TypeView& type = snapshot.types[option.point.type];
    return option.point.ranks <= std::min(type.capacity, type.widest);
  });
}

std::string out_of_service(const JobView& job) {
  const int ranks = job.options->empty() ? 1 : job.options->front().point.ranks;
  return fmt::format(
      "no type of device has {} in service now: nodes are down, drained or out of reach", ranks);
}

Performance performance_at(const Options& options, const OperatingPoint& point) {
  const Option *below = nullptr, *above = nullptr;
  for (const Option& option : options) {
    if (option.point.type != point.type || option.point.ranks != point.ranks) continue;
    if (option.point.limit_watts <= point.limit_watts) below = &option;
    if (!above && option.point.limit_watts >= point.limit_watts) above = &option;
  }
  if (!below && !above) {
    throw Error(ErrorCode::kInternal,
                fmt::format("policy: no option has {} ranks on type {}", point.ranks, point.type));
  }
  if (!below || !above) return (below ? below : above)->performance;
  Performance p = below->performance;
  const double range = above->point.limit_watts - below->point.limit_watts;
  const double share = range > 0 ? (point.limit_watts - below->point.limit_watts) / range : 0;
  p.units_per_second += share * (above->performance.units_per_second - p.units_per_second);
  p.watts += share * (above->performance.watts - p.watts);
  p.uncertainty = std::max(p.uncertainty, above->performance.uncertainty);
  p.basis = std::min(p.basis, above->performance.basis);
  return p;
}

std::optional<double> seconds_at(const JobView& job, const OperatingPoint& point) {
  double rate = 0;
  for (const Option& option : *job.options) {
    if (option.point.type != point.type || option.point.ranks != point.ranks) continue;
    rate = std::max(rate, option.performance.units_per_second);
  }
  if (!job.units_left || rate <= 0) return std::nullopt;
  return *job.units_left / rate;
}

std::unique_ptr<Policy> make_policy(const PolicyOptions& options) {
  if (!(options.eta >= 0 && options.eta <= 1)) {
    throw Error(ErrorCode::kConfig,
                fmt::format("policy.eta: expected between 0 and 1, got {}", options.eta));
  }
  if (!(options.reserve_after_seconds >= 0)) {
    throw Error(ErrorCode::kConfig,
                fmt::format("policy.reserve_after_seconds: expected at least 0, got {}",
                            options.reserve_after_seconds));
  }
  if (options.name == "fifo") return std::make_unique<FifoPolicy>();
  if (options.name == "backfill") return std::make_unique<BackfillPolicy>();
  if (options.name == "energy") return std::make_unique<EnergyPolicy>(options);
  throw Error(
      ErrorCode::kConfig,
      fmt::format("policy.name: expected fifo, backfill or energy, got '{}'", options.name));
}

}  // namespace wattle::scheduler
