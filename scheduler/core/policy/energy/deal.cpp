#include "scheduler/core/policy/energy/deal.h"

#include <algorithm>
#include <optional>

#include "scheduler/core/policy/energy/limits.h"

namespace wattle::scheduler {
namespace {

/// Limits stay as they are where a new deal would add less than this share of what is dealt.
constexpr double kNotWorthAChange = 0.02;

/// A run between its lowest limit and its highest.
struct Run {
  size_t job = 0;
  Worth worth;
  double assigned = 0;            ///< limit
  std::optional<double> present;  ///< the same, if it runs so already
};

class Deal {
 public:
  Deal(const Snapshot& snapshot, const Problem& problem, const std::vector<Offer>& offers,
       const Assignment& assignment);

  std::vector<double> limits() &&;

 private:
  struct Outcome {
    std::vector<double> limits;  ///< by run
    double worth = 0;
  };
  Run run_of(const Snapshot& snapshot, const Bidder& bidder, const Offer& offer, size_t job,
             int item) const;
  /// What the runs get in the end if they begin at these limits; nothing if that is too much.
  template <class Begin>
  std::optional<Outcome> raised_from(Begin&& begin) const;

  std::vector<double> limits_;
  std::vector<Run> runs_;
  double watts_;  ///< above the lowest limits of the runs
};

double limit_of(const JobView& job, const Offer& offer, int item) {
  return (*job.options)[offer.options[item]].point.limit_watts;
}

Deal::Deal(const Snapshot& snapshot, const Problem& problem, const std::vector<Offer>& offers,
           const Assignment& assignment)
    : limits_(offers.size()), watts_(problem.watts) {
  for (size_t j = 0; j < offers.size(); ++j) {
    const int item = assignment.items[j];
    if (item == kNothing) continue;
    const JobView& job = snapshot.jobs[j];
    const Bidder& bidder = problem.jobs[j];
    watts_ -= bidder.items[item].watts;
    limits_[j] = limit_of(job, offers[j], item);
    if (job.joules_left || problem.joules[bidder.tenant]) continue;
    const Run& run = runs_.emplace_back(run_of(snapshot, bidder, offers[j], j, item));
    watts_ += run.worth.ranks * (run.assigned - run.worth.limits.front());
  }
  watts_ = std::max(0.0, watts_);  // an assignment is feasible up to rounding
}

Run Deal::run_of(const Snapshot& snapshot, const Bidder& bidder, const Offer& offer, size_t index,
                 int item) const {
  const JobView& job = snapshot.jobs[index];
  const Item& assigned = bidder.items[item];
  Run run{index, {assigned.ranks, {}, {}}, limits_[index], {}};
  for (int i = 0; i < static_cast<int>(bidder.items.size()); ++i) {
    const Item& other = bidder.items[i];
    if (other.type != assigned.type || other.ranks != assigned.ranks) continue;
    run.worth.limits.push_back(limit_of(job, offer, i));
    run.worth.values.push_back(other.value);
  }
  if (is_as_now(job, {assigned.type, assigned.ranks}) &&
      job.current->limit_watts >= run.worth.limits.front()) {
    run.present = job.current->limit_watts;
  }
  return run;
}

template <class Begin>
std::optional<Deal::Outcome> Deal::raised_from(Begin&& begin) const {
  double watts = watts_;
  std::vector<Worth> rests;
  rests.reserve(runs_.size());
  for (const Run& run : runs_) {
    const double limit = begin(run);
    watts -= run.worth.ranks * (limit - run.worth.limits.front());
    rests.push_back(run.worth.from(limit));
  }
  if (watts < -1e-6) return std::nullopt;
  Outcome outcome{raise_limits(rests, watts), 0};
  for (size_t r = 0; r < runs_.size(); ++r) {
    outcome.worth += rests[r].at(outcome.limits[r]) - runs_[r].worth.values.front();
  }
  return outcome;
}

std::vector<double> Deal::limits() && {
  const auto lowest = [](const Run& run) { return run.worth.limits.front(); };
  Outcome best = *raised_from(lowest);
  const auto beyond = raised_from([](const Run& run) { return run.assigned; });
  if (beyond && beyond->worth > best.worth) best = *beyond;
  if (std::ranges::any_of(runs_, [](const Run& run) { return run.present.has_value(); })) {
    const auto kept =
        raised_from([&](const Run& run) { return run.present.value_or(lowest(run)); });
    if (kept && kept->worth >= best.worth * (1 - kNotWorthAChange)) best = *kept;
  }
  for (size_t r = 0; r < runs_.size(); ++r) limits_[runs_[r].job] = best.limits[r];
  return std::move(limits_);
}

}  // namespace

std::vector<double> deal_limits(const Snapshot& snapshot, const Problem& problem,
                                const std::vector<Offer>& offers, const Assignment& assignment) {
  return Deal(snapshot, problem, offers, assignment).limits();
}

}  // namespace wattle::scheduler
