#pragma once

#include <vector>

#include "scheduler/core/assign/problem.h"
#include "scheduler/core/policy/turn.h"

namespace wattle::scheduler {

/// Whether a job would go on where it runs, at whatever limit.
bool is_as_now(const JobView& job, const OperatingPoint& point);

/// What stands behind a job's items. Those of one type and rank count differ by what they are worth
/// at their limits and nothing else.
struct Offer {
  std::vector<int> options;  ///< of each item; they ascend
  double least_joules = 0;
  bool is_held = false;  ///< has none because of another's turn
};

/// What jobs are worth at their options: the items of the assignment.
class Offers {
 public:
  /// `turn` says what of them a job may have.
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

/// Budgets never forbid a job its thriftiest point (its leases end it when they are spent): what
/// they ration is the joules beyond that.
void ration_joules(const Snapshot& snapshot, std::vector<Offer>& offers, Problem& problem);

}  // namespace wattle::scheduler
