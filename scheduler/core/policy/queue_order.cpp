#include "scheduler/core/policy/queue_order.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace wattle::scheduler {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();

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
  for (bool may_stop : {false, true}) {
    for (size_t i = snapshot_.jobs.size(); i-- > 0 && watts_ < 0;) {
      if (!plan_.choices[i].point) continue;
      const auto least = least_point(snapshot_, i, plan_.choices[i].point->type);
      if (!may_stop && (!least || least->ranks >= plan_.choices[i].point->ranks)) continue;
      give_back(i);
      if (may_stop) {
        hold(i, Reason::kPowerCap, "the cap is below what all running jobs need at lowest limits");
      } else {
        take(i, *least);
      }
    }
  }
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

Plan QueuePlanner::finish() {
  double range = 0;
  for (const Choice& choice : plan_.choices) {
    if (!choice.point) continue;
    const DeviceType& type = snapshot_.types[choice.point->type].type;
    range += choice.point->ranks * (type.max_limit_watts - type.min_limit_watts);
  }
  const double share = range > 0 ? std::clamp(watts_ / range, 0.0, 1.0) : 0;
  for (Choice& choice : plan_.choices) {
    if (!choice.point) continue;
    const DeviceType& type = snapshot_.types[choice.point->type].type;
    const double raise = share * (type.max_limit_watts - type.min_limit_watts);
    choice.point->limit_watts += share >= 1 ? raise : std::floor(raise);
  }
  return std::move(plan_);
}

}  // namespace wattle::scheduler
