#pragma once

#include "scheduler/core/policy/policy.h"

namespace wattle::scheduler {

/// What fifo and backfill share: jobs run in queue order at the lowest limits first, then all
/// limits are raised evenly as far as the watts go (uniform limits).
class QueuePlanner {
 public:
  explicit QueuePlanner(const Snapshot& snapshot);

  /// Keeps running jobs as they run, at their lowest limits. Where that is more than the watts,
  /// jobs are first shrunk to their fewest ranks, then stopped, from the end of the queue.
  void keep_running();

  /// Starts a job on the most ranks that fit now, on the type where it is fastest. False, with the
  /// reason noted, if none fits. Backfilling also bounds what it may take and the seconds that it
  /// may last, counted at the lowest limit.
  bool start(size_t job);
  bool start_within(size_t job, const std::vector<int>& devices, double watts, double seconds);

  void hold(size_t job, Reason reason, const std::string& why);

  /// Raises limits evenly and gives the plan.
  Plan finish();

  const std::vector<int>& free_devices() const { return free_; }
  double free_watts() const { return watts_; }
  const std::optional<OperatingPoint>& chosen(size_t job) const { return plan_.choices[job].point; }
  /// The points of all jobs that run or have been started.
  std::vector<std::optional<OperatingPoint>> runs() const;

 private:
  void take(size_t job, const OperatingPoint& point);
  void give_back(size_t job);

  const Snapshot& snapshot_;
  Plan plan_;
  std::vector<int> free_;  ///< devices by type
  double watts_;           ///< not yet taken at lowest limits
};

}  // namespace wattle::scheduler
