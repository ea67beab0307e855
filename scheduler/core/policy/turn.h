#pragma once

#include <optional>
#include <vector>

#include "scheduler/core/policy/reservation.h"

namespace wattle::scheduler {

/// The turn of a wide job. Devices come free one by one, and whoever is narrow takes them: a job
/// that needs many at once would never find them free together, whatever its weight. So the
/// weightiest job that has waited for a while and that what is free does not hold gets a
/// reservation. Until it starts, jobs of less weight start, and runs grow, only if they are
/// expected to end before it has its devices, or on what it leaves.
class Turn {
 public:
  Turn(const Snapshot& snapshot, double reserve_after_seconds);

  /// What the turn lets one job have.
  class Share {
   public:
    bool allows(const Option& option) const;

   private:
    friend class Turn;
    const JobView* job_ = nullptr;  ///< nullptr = all
    double seconds_ = 0;            ///< until the reservation's start
    std::vector<int> spare_ranks_;  ///< by type: so many are let in beside it; 0 = none
  };

  /// To be asked once for each job, in the queue's order: the spare goes to the first.
  Share share_of(size_t job);

  bool is_of(size_t job) const { return kept_ && head_ == job; }
  /// Why the job whose turn it is does not run yet, or why another one waits for it.
  Choice refusal(size_t job) const;

 private:
  const Snapshot& snapshot_;
  size_t head_ = 0;
  std::optional<Reservation> kept_;
};

}  // namespace wattle::scheduler
