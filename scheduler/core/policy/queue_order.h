#pragma once

#include "scheduler/core/plan/timeline.h"
#include "scheduler/core/policy/policy.h"

namespace wattle::scheduler {

/// What fifo and backfill share: jobs run in queue order at the lowest limits first, then runs grow
/// on what nothing that waits takes, then all limits are raised evenly as far as the watts go
/// (uniform limits).
class QueuePlanner {
 public:
  explicit QueuePlanner(const Snapshot& snapshot);

  /// Keeps running jobs as they run, at their lowest limits, and for those between two runs the
  /// ranks that they stopped for, or as many as are left. Where that is more than the watts, jobs
  /// are first shrunk to what fits, or their fewest ranks, then stopped, from the end of the queue.
  void keep_running();

  /// Starts a job on the most ranks that fit now, on the type where it is fastest. False, with the
  /// reason noted, if none fits. Backfilling also bounds what it may take and the seconds that it
  /// may last, counted at the lowest limit.
  bool start(size_t job);
  bool start_within(size_t job, const std::vector<int>& devices, double watts, double seconds);

  void hold(size_t job, Reason reason, const std::string& why);

  /// Gives running jobs, in queue order, more ranks of the devices and watts that are free, or of
  /// `most`. A job must gain more than its checkpoint and restart cost, and one with joules needs
  /// them for all that it has left to do. Once all that waits has been considered.
  void grow();
  void grow_within(const Amount& most);

  /// Raises limits evenly and gives the plan.
  Plan finish();

  const std::vector<int>& free_devices() const { return free_; }
  double free_watts() const { return watts_; }
  /// Whether a job runs, or has got what it will run on.
  bool is_settled(size_t job) const { return snapshot_.jobs[job].current || chosen(job); }
  const std::optional<OperatingPoint>& chosen(size_t job) const { return plan_.choices[job].point; }
  /// The points of all jobs that run or have been started.
  std::vector<std::optional<OperatingPoint>> runs() const;

 private:
  /// How far limits can be raised: the share of the range between lowest and highest, of all runs.
  struct Raise {
    double watts = 0;        ///< left at lowest limits
    double range_watts = 0;  ///< of all runs together
    double share() const;
  };

  void take(size_t job, const OperatingPoint& point);
  void give_back(size_t job);
  void take_claim(size_t job);
  void shrink(size_t job);
  Raise raise() const;
  double range_watts(const OperatingPoint& point) const;
  /// Units a second of a job on a point's type and ranks, when limits are raised so far.
  double rate(size_t job, const OperatingPoint& point, const Raise& raise) const;
  bool pays(size_t job, const OperatingPoint& wider, double rate_now, double rate_then) const;
  std::optional<OperatingPoint> wider_point(size_t job, const Amount& left,
                                            const Raise& raise) const;

  const Snapshot& snapshot_;
  Plan plan_;
  std::vector<int> free_;  ///< devices by type
  double watts_;           ///< not yet taken at lowest limits
};

}  // namespace wattle::scheduler
