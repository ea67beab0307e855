#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "scheduler/core/assign/problem.h"
#include "scheduler/core/policy/policies.h"
#include "scheduler/core/policy/turn.h"

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
/// Up to this many items the exact solver is asked, for so many nodes of its tree: enough for the
/// optimum of a few jobs, and never more than some tenths of a second.
constexpr size_t kMostExactItems = 400;
constexpr int kMostExactNodes = 300;

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

/// What stands behind a job's items.
struct Offer {
  std::vector<int> options;  ///< of each item
  double least_joules = 0;
  bool is_held = false;  ///< has none because of another's turn
};

class Offers {
 public:
  Offers(const Snapshot& snapshot, double eta, Turn& turn)
      : snapshot_(snapshot), eta_(eta), turn_(turn) {}

  /// In the queue's order.
  Offer of(size_t job, Bidder& bidder) const;

 private:
  double value(const JobView& job, const Option& option, const Option& reference) const;
  double keep(const JobView& job, const Option& option, double present) const;

  const Snapshot& snapshot_;
  double eta_;
  Turn& turn_;
};

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
  const OperatingPoint& now = *job.current;
  if (option.point.type == now.type && option.point.ranks == now.ranks)
    return kKeepFactor * present;
  return (kKeepFactor - (option.point.ranks > now.ranks ? kGrowCost : kShrinkCost)) * present;
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
    if (job.current && option.point.type == job.current->type &&
        option.point.ranks == job.current->ranks) {
      present = value(job, option, *reference);  // at its highest limit
    }
  }
  const TenantView& tenant = snapshot_.tenants[job.tenant];
  const bool limited = tenant.joules_left || job.joules_left;
  double least = std::numeric_limits<double>::infinity();
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
    if (!(item.value > 0) || !std::isfinite(item.value) || !std::isfinite(item.joules)) continue;
    bidder.items.push_back(item);
    offer.options.push_back(static_cast<int>(i));
  }
  offer.least_joules = offer.options.empty() ? 0 : least;
  offer.is_held = offer.is_held && offer.options.empty();
  return offer;
}

/// Budgets never forbid a job its thriftiest point (its leases end it when they are spent): what
/// they ration is the joules beyond that.
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

Assignment solve(const Problem& problem) {
  size_t items = 0;
  for (const Bidder& job : problem.jobs) items += job.items.size();
  Assignment relaxed = solve_relaxed(problem);
  const bool proved = relaxed.value >= relaxed.bound * (1 - 1e-6);
  if (proved || items > kMostExactItems) return relaxed;
  Assignment exact = solve_exact(problem, kMostExactNodes);
  return exact.value > relaxed.value ? exact : relaxed;
}

std::string why_chosen(const JobView& job, const Option& option) {
  const Performance& p = option.performance;
  return fmt::format("most progress for the watts: {:.4g} units/s at {:.0f} W (weight {:.3g}, {})",
                     p.units_per_second, p.watts, job.weight, uncertainty_text(p));
}

/// What the runs of a plan leave.
struct Leftover {
  std::vector<int> devices;
  double watts = 0;
};

/// The least that a job's items take of the watts, of those whose devices are left; infinite if
/// there is none.
double least_watts(const Bidder& bidder, const Leftover& left) {
  double least = std::numeric_limits<double>::infinity();
  for (const Item& item : bidder.items) {
    if (item.ranks <= left.devices[item.type]) least = std::min(least, item.watts);
  }
  return least;
}

/// Why a job got nothing: what is left does not hold its smallest item, or others use it better.
Choice refusal(const Snapshot& snapshot, const JobView& job, const Bidder& bidder,
               const Leftover& left) {
  const double least = least_watts(bidder, left);
  Choice choice;
  choice.reason = job.current                     ? Reason::kPreempted
                  : !is_in_service(snapshot, job) ? Reason::kNodesUnavailable
                  : std::isinf(least)             ? Reason::kResources
                  : least > left.watts            ? Reason::kPowerCap
                                                  : Reason::kEnergyBudget;
  if (choice.reason == job.last_reason) return choice;
  switch (choice.reason) {
    case Reason::kPowerCap:
      choice.why = fmt::format("needs {:.0f} W, {:.0f} W are left below the cap", least,
                               std::max(0.0, left.watts));
      break;
    case Reason::kPreempted:
      choice.why = fmt::format("others make more of its devices and watts ({:.0f} W for all runs)",
                               snapshot.watts);
      break;
    case Reason::kEnergyBudget:
      choice.why = "the tenant's joules are planned for others";
      break;
    case Reason::kNodesUnavailable:
      choice.why = out_of_service(job);
      break;
    default:
      choice.why = "others make more of the devices";
      break;
  }
  return choice;
}

}  // namespace

Plan EnergyPolicy::plan(const Snapshot& snapshot) const {
  Turn turn(snapshot, options_.reserve_after_seconds);
  const Offers bids(snapshot, options_.eta, turn);
  Problem problem;
  for (const TypeView& type : snapshot.types) problem.devices.push_back(type.capacity);
  problem.watts = snapshot.watts;
  std::vector<Offer> offers;
  offers.reserve(snapshot.jobs.size());
  problem.jobs.reserve(snapshot.jobs.size());
  for (size_t j = 0; j < snapshot.jobs.size(); ++j) {
    offers.push_back(bids.of(j, problem.jobs.emplace_back()));
  }
  ration_joules(snapshot, offers, problem);
  const Assignment best = solve(problem);

  Leftover left{problem.devices, problem.watts};
  for (size_t j = 0; j < offers.size(); ++j) {
    if (best.items[j] == kNothing) continue;
    const Item& item = problem.jobs[j].items[best.items[j]];
    left.devices[item.type] -= item.ranks;
    left.watts -= item.watts;
  }
  Plan plan;
  for (size_t j = 0; j < offers.size(); ++j) {
    const JobView& job = snapshot.jobs[j];
    if (best.items[j] == kNothing) {
      const bool waits_for_turn = turn.is_of(j) || (offers[j].is_held && !job.current);
      plan.choices.push_back(waits_for_turn ? turn.refusal(j)
                                            : refusal(snapshot, job, problem.jobs[j], left));
      continue;
    }
    const Option& option = (*job.options)[offers[j].options[best.items[j]]];
    const bool moves = !job.current || job.current->type != option.point.type ||
                       job.current->ranks != option.point.ranks;
    plan.choices.push_back({option.point, Reason::kNone, moves ? why_chosen(job, option) : ""});
  }
  return plan;
}

}  // namespace wattle::scheduler
