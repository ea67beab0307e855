#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "scheduler/core/policy/energy/deal.h"
#include "scheduler/core/policy/energy/keep_runs.h"
#include "scheduler/core/policy/energy/offers.h"
#include "scheduler/core/policy/policies.h"

namespace wattle::scheduler {
namespace {

/// Up to this many items the exact solver is asked, for so many nodes of its tree: enough for the
/// optimum of a few jobs, and never more than some tenths of a second.
constexpr size_t kMostExactItems = 400;
constexpr int kMostExactNodes = 300;

/// Of a job alone: its best item.
Assignment best_of_one(const Problem& problem) {
  Assignment best{{kNothing}, 0, 0};
  const Bidder& job = problem.jobs.front();
  for (int i = 0; i < static_cast<int>(job.items.size()); ++i) {
    const Assignment one{{i}, job.items[i].value, job.items[i].value};
    if (one.value > best.value && feasible(problem, one)) best = one;
  }
  return best;
}

Assignment solve(const Problem& problem) {
  if (problem.jobs.size() == 1) return best_of_one(problem);
  size_t items = 0;
  for (const Bidder& job : problem.jobs) items += job.items.size();
  Assignment relaxed = solve_relaxed(problem);
  const bool proved = relaxed.value >= relaxed.bound * (1 - 1e-6);
  if (proved || items > kMostExactItems) return relaxed;
  Assignment exact = solve_exact(problem, kMostExactNodes);
  return exact.value > relaxed.value ? exact : relaxed;
}

std::string why_chosen(const JobView& job, const OperatingPoint& point) {
  const Performance p = performance_at(*job.options, point);
  return fmt::format("most progress for the watts: {:.4g} units/s at {:.0f} W (weight {:.3g}, {})",
                     p.units_per_second, p.watts, job.weight, uncertainty_text(p));
}

/// What the runs of a plan leave.
struct Leftover {
  std::vector<int> devices;
  double watts = 0;
  bool has_starts = false;  ///< jobs that begin to run
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
  const bool is_for_others = left.has_starts || least <= left.watts;
  choice.reason = job.current ? (is_for_others ? Reason::kPreempted : Reason::kPowerCap)
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
  Assignment best = solve(problem);
  keep_runs(snapshot, problem, best);
  const std::vector<double> limits = deal_limits(snapshot, problem, offers, best);

  Leftover left{problem.devices, problem.watts, false};
  for (size_t j = 0; j < offers.size(); ++j) {
    if (best.items[j] == kNothing) continue;
    const Item& item = problem.jobs[j].items[best.items[j]];
    left.devices[item.type] -= item.ranks;
    left.watts -= item.watts;
    left.has_starts = left.has_starts || !snapshot.jobs[j].current;
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
    OperatingPoint point = (*job.options)[offers[j].options[best.items[j]]].point;
    point.limit_watts = limits[j];
    const std::string why = is_as_now(job, point) ? "" : why_chosen(job, point);
    plan.choices.push_back({point, Reason::kNone, why});
  }
  return plan;
}

}  // namespace wattle::scheduler
