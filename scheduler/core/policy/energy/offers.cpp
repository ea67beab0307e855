#include "scheduler/core/policy/energy/offers.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace wattle::scheduler {
namespace {

/// A run is worth this many times its present progress more than none: others take its place only
/// when theirs is worth as much more, and limits are lowered before anything is stopped.
constexpr double kKeepFactor = 4;
/// What a restart on other ranks costs, in present progress: shrinking comes after lowering limits,
/// growing pays when it gains more than this.
constexpr double kShrinkCost = 1.0;
constexpr double kGrowCost = 0.1;
/// Where speeds are a client's word, no rank counts as more than so many of the reference's.
constexpr double kMostSpeedup = 2;

/// The point that others of the job are measured by: its fewest ranks at full power, on the device
/// type that is fastest there.
const Option* reference_of(const Options& options) {
  const Option* best = nullptr;
  for (const Option& option : options) {
    if (option.point.ranks != options.front().point.ranks) continue;
    if (!best || option.performance.units_per_second >= best->performance.units_per_second) {
      best = &option;
    }
  }
  return best;
}

/// Joules until the job is done, or the tenant's period over if that is not known or comes first.
double joules_of(const JobView& job, const TenantView& tenant, const Performance& p) {
  double seconds = std::max(0.0, tenant.seconds_left);
  if (job.units_left && p.units_per_second > 0) {
    const double needed = *job.units_left / p.units_per_second;
    seconds = job.joules_left && !tenant.joules_left ? needed : std::min(seconds, needed);
  }
  return p.watts * seconds;
}

}  // namespace

bool is_as_now(const JobView& job, const OperatingPoint& point) {
  return job.current && point.type == job.current->type && point.ranks == job.current->ranks;
}

/// Progress per Zeus' cost, relative to the reference and in its devices:
/// n_ref·(T/T_ref) / ((1-η) + η·P/P_ref). Jobs that need many devices count for as many that need
/// one (the z_m of Gavel's objective), else none of them would ever get its turn.
double Offers::value(const JobView& job, const Option& option, const Option& reference) const {
  const Performance &p = option.performance, &full = reference.performance;
  const double most = kMostSpeedup * option.point.ranks / reference.point.ranks;
  const double progress = p.units_per_second / std::max(1e-300, full.units_per_second);
  const double power = p.watts / std::max(1e-9, full.watts);
  return job.weight * reference.point.ranks * std::min(progress, most) /
         ((1 - eta_) + eta_ * power);
}

double Offers::keep(const JobView& job, const Option& option, double present) const {
  if (job.resizing) return kKeepFactor * present;
  if (!job.current) return 0;
  if (is_as_now(job, option.point)) return kKeepFactor * present;
  const bool grows = option.point.ranks > job.current->ranks;
  return (kKeepFactor - (grows ? kGrowCost : kShrinkCost)) * present;
}

Offer Offers::of(size_t index, Bidder& bidder) const {
  const JobView& job = snapshot_.jobs[index];
  const Turn::Share share = turn_.share_of(index);
  Offer offer;
  bidder.tenant = job.tenant;
  const Option* reference = reference_of(*job.options);
  if (!reference) return offer;
  double present = job.weight * reference->point.ranks;  // a resizing job's claim
  for (const Option& option : *job.options) {
    if (is_as_now(job, option.point))
      present = value(job, option, *reference);  // at its highest limit
  }
  const TenantView& tenant = snapshot_.tenants[job.tenant];
  const bool limited = tenant.joules_left || job.joules_left;
  double least = std::numeric_limits<double>::infinity(), least_as_now = least;
  bidder.items.reserve(job.options->size());
  offer.options.reserve(job.options->size());
  for (size_t i = 0; i < job.options->size(); ++i) {
    const Option& option = (*job.options)[i];
    const TypeView& type = snapshot_.types[option.point.type];
    if (option.point.ranks > std::min(type.capacity, type.widest)) continue;
    if (!share.allows(option)) {
      offer.is_held = true;
      continue;
    }
    Item item;
    item.value = value(job, option, *reference) + keep(job, option, present);
    item.type = option.point.type;
    item.ranks = option.point.ranks;
    item.watts = run_watts(snapshot_, option.point);
    item.joules = limited ? joules_of(job, tenant, option.performance) : 0;
    least = std::min(least, item.joules);
    if (is_as_now(job, option.point)) least_as_now = std::min(least_as_now, item.joules);
    if (!(item.value > 0) || !std::isfinite(item.value) || !std::isfinite(item.joules)) continue;
    bidder.items.push_back(item);
    offer.options.push_back(static_cast<int>(i));
  }
  // A run gets thriftier by lower limits: it is not stopped to go on elsewhere for joules.
  if (std::isfinite(least_as_now)) least = least_as_now;
  offer.least_joules = offer.options.empty() ? 0 : least;
  offer.is_held = offer.is_held && offer.options.empty();
  return offer;
}

void ration_joules(const Snapshot& snapshot, std::vector<Offer>& offers, Problem& problem) {
  std::vector<double> least(snapshot.tenants.size());
  for (size_t j = 0; j < offers.size(); ++j) {
    Offer& offer = offers[j];
    std::vector<Item>& items = problem.jobs[j].items;
    const std::optional<double>& own = snapshot.jobs[j].joules_left;
    size_t kept = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      const bool thriftiest = items[i].joules <= offer.least_joules * (1 + 1e-9);
      if (own && items[i].joules > *own && !thriftiest) continue;
      items[i].joules = std::max(0.0, items[i].joules - offer.least_joules);
      items[kept] = items[i];
      offer.options[kept++] = offer.options[i];
    }
    items.resize(kept);
    offer.options.resize(kept);
    least[problem.jobs[j].tenant] += offer.least_joules;
  }
  for (size_t t = 0; t < snapshot.tenants.size(); ++t) {
    const std::optional<double>& left = snapshot.tenants[t].joules_left;
    problem.joules.push_back(left ? std::optional(std::max(0.0, *left - least[t])) : std::nullopt);
  }
}

}  // namespace wattle::scheduler
