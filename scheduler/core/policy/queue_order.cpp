#include "scheduler/core/policy/queue_order.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace wattle::scheduler {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

/// More ranks cost a checkpoint and a restart. They must give more than this share of the present
/// throughput, as with `energy`, and save this time of what is left.
constexpr double kGrowCost = 0.1;
constexpr double kGrowSeconds = 60;

}  // namespace

QueuePlanner::QueuePlanner(const Snapshot& snapshot) : snapshot_(snapshot), watts_(snapshot.watts) {
  plan_.choices.resize(snapshot.jobs.size());
  for (const TypeView& type : snapshot.types) free_.push_back(type.capacity);
}

void QueuePlanner::take(size_t job, const OperatingPoint& point) {
  plan_.choices[job].point = at_lowest_limit(snapshot_, point);
  free_[point.type] -= point.ranks;
  watts_ -= lowest_watts(snapshot_, point);
}

void QueuePlanner::give_back(size_t job) {
  const OperatingPoint point = *plan_.choices[job].point;
  free_[point.type] += point.ranks;
  watts_ += lowest_watts(snapshot_, point);
  plan_.choices[job].point.reset();
}

std::vector<std::optional<OperatingPoint>> QueuePlanner::runs() const {
  std::vector<std::optional<OperatingPoint>> runs;
  runs.reserve(plan_.choices.size());
  for (const Choice& choice : plan_.choices) runs.push_back(choice.point);
  return runs;
}

void QueuePlanner::keep_running() {
  for (size_t i = 0; i < snapshot_.jobs.size(); ++i) {
    if (snapshot_.jobs[i].current) take(i, *snapshot_.jobs[i].current);
  }
  for (size_t i = 0; i < snapshot_.jobs.size(); ++i) {
    if (snapshot_.jobs[i].resizing) take_claim(i);
  }
  for (size_t i = snapshot_.jobs.size(); i-- > 0 && watts_ < 0;) {
    if (chosen(i)) shrink(i);
  }
  for (size_t i = snapshot_.jobs.size(); i-- > 0 && watts_ < 0;) {
    if (!chosen(i)) continue;
    give_back(i);
    hold(i, Reason::kPowerCap, "the cap is below what all running jobs need at lowest limits");
  }
}

void QueuePlanner::take_claim(size_t job) {
  const OperatingPoint& claim = snapshot_.jobs[job].claim;
  const int most = std::min({claim.ranks, free_[claim.type], snapshot_.types[claim.type].widest});
  const OperatingPoint* best = nullptr;
  for (const Option& option : *snapshot_.jobs[job].options) {
    if (option.point.type == claim.type && option.point.ranks <= most) best = &option.point;
  }
  if (!best) return;
  take(job, *best);
  plan_.choices[job].why = fmt::format("goes on with {} ranks", best->ranks);
}

void QueuePlanner::shrink(size_t job) {
  const OperatingPoint now = *chosen(job);
  const auto least = least_point(snapshot_, job, now.type);
  if (!least || least->ranks >= now.ranks) return;
  give_back(job);
  OperatingPoint best = *least;
  for (const Option& option : *snapshot_.jobs[job].options) {
    if (option.point.type != now.type || option.point.ranks >= now.ranks) continue;
    if (lowest_watts(snapshot_, option.point) <= watts_ + 1e-9) best = option.point;
  }
  take(job, best);
  plan_.choices[job].why = "the cap is below what all running jobs need at lowest limits";
}

void QueuePlanner::hold(size_t job, Reason reason, const std::string& why) {
  plan_.choices[job] = {std::nullopt, reason, why};
}

bool QueuePlanner::start(size_t job) { return start_within(job, free_, watts_, kForever); }

bool QueuePlanner::start_within(size_t job, const std::vector<int>& devices, double watts,
                                double seconds) {
  const JobView& view = snapshot_.jobs[job];
  const Option* best = nullptr;
  const Option* lowest = nullptr;  // of the type and ranks in turn
  bool devices_fit = false;
  for (const Option& option : *view.options) {
    if (!lowest || option.point.ranks != lowest->point.ranks ||
        option.point.type != lowest->point.type) {
      lowest = &option;
    }
    const int most =
        std::min(devices[option.point.type], snapshot_.types[option.point.type].widest);
    if (option.point.ranks > most) continue;
    devices_fit = true;
    if (view.units_left.value_or(kForever) > seconds * lowest->performance.units_per_second)
      continue;
    if (lowest_watts(snapshot_, option.point) > watts + 1e-9) continue;
    if (!best || option.performance.units_per_second > best->performance.units_per_second) {
      best = &option;
    }
  }
  if (best) {
    take(job, best->point);
    plan_.choices[job].why =
        fmt::format("first in the queue that fits: {} ranks", best->point.ranks);
    return true;
  }
  const Reason reason = devices_fit                      ? Reason::kPowerCap
                        : is_in_service(snapshot_, view) ? Reason::kResources
                                                         : Reason::kNodesUnavailable;
  hold(job, reason,
       reason == view.last_reason ? ""
       : devices_fit ? fmt::format("{:.0f} W are free below the cap, it needs more", watts)
       : reason == Reason::kNodesUnavailable ? out_of_service(view)
                                             : "not enough free devices for its fewest ranks");
  return false;
}

double QueuePlanner::Raise::share() const {
  return range_watts > 0 ? std::clamp(watts / range_watts, 0.0, 1.0) : 0;
}

double QueuePlanner::range_watts(const OperatingPoint& point) const {
  const DeviceType& type = snapshot_.types[point.type].type;
  return point.ranks * (type.max_limit_watts - type.min_limit_watts);
}

QueuePlanner::Raise QueuePlanner::raise() const {
  Raise raise{watts_, 0};
  for (const Choice& choice : plan_.choices) {
    if (choice.point) raise.range_watts += range_watts(*choice.point);
  }
  return raise;
}

double QueuePlanner::rate(size_t job, const OperatingPoint& point, const Raise& raise) const {
  const DeviceType& type = snapshot_.types[point.type].type;
  const double range = type.max_limit_watts - type.min_limit_watts;
  const OperatingPoint raised{point.type, point.ranks,
                              type.min_limit_watts + raise.share() * range};
  return performance_at(*snapshot_.jobs[job].options, raised).units_per_second;
}

/// The joules are those at the highest limits, to the end of the job or of the tenant's period.
bool QueuePlanner::pays(size_t job, const OperatingPoint& wider, double rate_now,
                        double rate_then) const {
  const JobView& view = snapshot_.jobs[job];
  const TenantView& tenant = snapshot_.tenants[view.tenant];
  if (rate_then <= (1 + kGrowCost) * rate_now) return false;
  const double units = view.units_left.value_or(kForever);
  if (view.units_left && units / rate_now - units / rate_then <= kGrowSeconds) return false;
  const double watts = wider.ranks * snapshot_.types[wider.type].type.max_limit_watts;
  const double seconds = units / rate_then;
  if (seconds * watts > view.joules_left.value_or(kForever)) return false;
  return std::min(seconds, tenant.seconds_left) * watts <= tenant.joules_left.value_or(kForever);
}

/// Where the job is the fastest, limits being as low for all as its ranks make them.
std::optional<OperatingPoint> QueuePlanner::wider_point(size_t job, const Amount& left,
                                                        const Raise& raise) const {
  const JobView& view = snapshot_.jobs[job];
  const OperatingPoint now = *chosen(job);
  const int most = std::min(now.ranks + std::min(left.devices[now.type], free_[now.type]),
                            snapshot_.types[now.type].widest);
  if (most <= now.ranks) return std::nullopt;
  const double rate_now = rate(job, now, raise);
  std::optional<OperatingPoint> best;
  double best_rate = rate_now;
  int seen = now.ranks;
  for (const Option& option : *view.options) {
    const OperatingPoint& point = option.point;
    if (point.type != now.type || point.ranks <= seen || point.ranks > most) continue;
    seen = point.ranks;
    const double more = lowest_watts(snapshot_, point) - lowest_watts(snapshot_, now);
    if (more > left.watts + 1e-9) break;
    const double then =
        rate(job, point,
             {raise.watts - more, raise.range_watts + range_watts(point) - range_watts(now)});
    if (then <= best_rate) continue;
    if (view.current && !pays(job, point, rate_now, then)) continue;
    best = point;
    best_rate = then;
  }
  return best;
}

void QueuePlanner::grow() { grow_within({free_, watts_}); }

void QueuePlanner::grow_within(const Amount& most) {
  Amount left = most;
  left.watts = std::min(left.watts, watts_ - snapshot_.slack_watts);
  Raise raise = this->raise();
  for (size_t i = 0; i < snapshot_.jobs.size(); ++i) {
    const JobView& view = snapshot_.jobs[i];
    if (!chosen(i) || !(view.current || view.resizing)) continue;
    const OperatingPoint now = *chosen(i);
    if (view.current && view.current->ranks != now.ranks) continue;  // has shrunk for the cap
    const auto wider = wider_point(i, left, raise);
    if (!wider) continue;
    give_back(i);
    take(i, *wider);
    const double more = lowest_watts(snapshot_, *wider) - lowest_watts(snapshot_, now);
    left.devices[now.type] -= wider->ranks - now.ranks;
    left.watts -= more;
    raise.watts -= more;
    raise.range_watts += range_watts(*wider) - range_watts(now);
    plan_.choices[i].why = "takes devices and watts that no waiting job needs";
  }
}

Plan QueuePlanner::finish() {
  const double share = raise().share();
  for (Choice& choice : plan_.choices) {
    if (!choice.point) continue;
    const DeviceType& type = snapshot_.types[choice.point->type].type;
    const double raise = share * (type.max_limit_watts - type.min_limit_watts);
    choice.point->limit_watts += share >= 1 ? raise : std::floor(raise);
  }
  return std::move(plan_);
}

}  // namespace wattle::scheduler
