#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/core/profile/profile_book.h"

namespace wattle::scheduler {

/// A device type with what can be planned of it.
struct TypeView {
  DeviceType type;   ///< its idle_watts: with which its devices count, see Snapshot::watts
  int capacity = 0;  ///< devices that are free, held by jobs of this snapshot, or about to be freed
  int widest = std::numeric_limits<int>::max();  ///< the most of them that one job can have
};

struct TenantView {
  std::string name;
  std::optional<double>
      joules_left;          ///< of this period, not spent and not leased; none = unlimited
  double seconds_left = 0;  ///< until the period ends
};

/// A job that can run now or runs already.
struct JobView {
  JobId id = 0;
  int tenant = 0;
  double weight = 1;          ///< worth of its progress: tenant, priority, age, deadline
  double waited_seconds = 0;  ///< for nothing but its turn; 0 while it runs
  std::shared_ptr<const Options> options;
  std::optional<OperatingPoint> current;  ///< as it runs; absent while it waits
  bool resizing = false;                  ///< stopped to run again on other ranks: keeps its claim
  OperatingPoint claim;                   ///< if so: the ranks, and the type that it ran on
  std::optional<double> units_left;       ///< none = unknown
  std::optional<double> joules_left;      ///< of its own budget
  Reason last_reason = Reason::kNone;     ///< a text is made only for a reason that is new
};

/// All that a policy may know, at one moment. Jobs stand in queue order: running ones as they were
/// submitted, too; higher priority first, then longer waiting.
struct Snapshot {
  double now_seconds = 0;
  /// For runs, above the idle watts of all devices, which count with their own or with those of
  /// their TypeView, whichever are more: a run never takes more of the cap than run_watts().
  double watts = 0;
  /// Of them, what is there only as long as runs draw less than their limits (a soft cap).
  double slack_watts = 0;
  std::vector<TypeView> types;
  std::vector<TenantView> tenants;
  std::vector<JobView> jobs;
};

/// What a policy wants of one job: a point to run at, or a reason why not.
struct Choice {
  std::optional<OperatingPoint> point;
  Reason reason = Reason::kNone;
  std::string why;  ///< may be empty if the reason is JobView::last_reason
};

/// A wanted state, one choice a job in the snapshot's order. It keeps within the capacity of every
/// type and within the watts (Σ ranks·(limit - idle)). How to get there safely is not its matter.
struct Plan {
  std::vector<Choice> choices;
};

/// Turns a snapshot into a plan; without state, so that equal snapshots give equal plans.
class Policy {
 public:
  virtual ~Policy() = default;
  virtual const char* name() const = 0;
  virtual Plan plan(const Snapshot& snapshot) const = 0;
  /// Whether nothing passes the first job that waits.
  virtual bool is_strict() const { return false; }
};

struct PolicyOptions {
  std::string name = "energy";  ///< fifo, backfill or energy
  double eta = 0.5;             ///< energy: 0 = throughput alone, 1 = work per joule
  /// energy: for a job that has waited this long and for which too little is free at once, what
  /// comes free is kept.
  double reserve_after_seconds = 600;
};

/// Throws Error(kConfig) for a name that is unknown, an eta outside [0, 1] or a wait below 0.
std::unique_ptr<Policy> make_policy(const PolicyOptions& options);

/// What a point takes of Snapshot::watts.
inline double run_watts(const Snapshot& snapshot, const OperatingPoint& point) {
  return point.ranks * (point.limit_watts - snapshot.types[point.type].type.idle_watts);
}

/// The point at its type's lowest limit, and what that takes.
OperatingPoint at_lowest_limit(const Snapshot& snapshot, const OperatingPoint& point);
double lowest_watts(const Snapshot& snapshot, const OperatingPoint& point);

/// The least that a job needs on a type: its fewest ranks at the lowest limit; nothing if no job
/// can have so many devices of it.
std::optional<OperatingPoint> least_point(const Snapshot& snapshot, size_t job, int type);

/// Whether any type has the job's fewest ranks in service: on nodes that are up and not drained.
/// And what a job is told if none has.
bool is_in_service(const Snapshot& snapshot, const JobView& job);
std::string out_of_service(const JobView& job);

/// What a job is expected to do at any limit of a type and rank count of its options: linear
/// between those. Throws Error(kInternal) if there is no such option.
Performance performance_at(const Options& options, const OperatingPoint& point);

/// Expected seconds until the job is done on a point's type and ranks under the highest limit;
/// nothing if that is unknown.
std::optional<double> seconds_at(const JobView& job, const OperatingPoint& point);

}  // namespace wattle::scheduler
