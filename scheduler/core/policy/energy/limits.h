#pragma once

#include <vector>

namespace wattle::scheduler {

/// What a run of so many ranks is worth at limits a device, which ascend; in between it is linear.
/// The first limit is the one that it has already.
struct Worth {
  int ranks = 1;
  std::vector<double> limits, values;

  double at(double limit) const;
  /// The same for a run that has this limit already.
  Worth from(double limit) const;
};

/// Gives watts out where they are worth most, and none where they are worth nothing: each run's
/// limit is raised along the concave majorant of its worth, steepest first (water-filling: in the
/// end all that could still rise have the same marginal worth). Runs of equal steepness share what
/// is left of the watts in proportion. Rises end at one of the limits or after whole watts. Gives
/// the limits of all runs; deterministic, n log n in all limits.
std::vector<double> raise_limits(const std::vector<Worth>& runs, double watts);

}  // namespace wattle::scheduler
