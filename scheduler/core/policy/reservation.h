#pragma once

#include <optional>
#include <vector>

#include "scheduler/core/plan/timeline.h"
#include "scheduler/core/policy/policy.h"

namespace wattle::scheduler {

/// Devices and watts that come free and are kept for one job that waits.
struct Reservation {
  OperatingPoint point;                 ///< its fewest ranks, at the lowest limit
  std::optional<double> start_seconds;  ///< when it has them; none = at no moment that is known
  /// What others may have beside it: what is left then, or, where no moment is known, what no run
  /// and not the job itself needs.
  Amount spare;
};

/// What no run holds, at their lowest limits.
Amount free_beside(const Snapshot& snapshot,
                   const std::vector<std::optional<OperatingPoint>>& runs);

/// Whether an amount holds a job's fewest ranks at the lowest limit, of any type.
bool holds(const Snapshot& snapshot, const Amount& amount, size_t job);

/// The earliest moment at which the expected ends of `runs`, a point for each job of the snapshot
/// that runs, leave a job its fewest ranks at the lowest limit, of all types; a run that has done
/// all its units has yet to end: a second later at least. Runs stay at their lowest limits until
/// then; one whose end is unknown is taken to run forever. Where no moment is known, the type of
/// which the most is free and on which the job fits once all others are gone; nothing if there is
/// none.
std::optional<Reservation> reserve(const Snapshot& snapshot, size_t job,
                                   const std::vector<std::optional<OperatingPoint>>& runs);

}  // namespace wattle::scheduler
