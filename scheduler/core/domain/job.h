#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/core/domain/operating_point.h"

namespace wattle::scheduler {

using JobId = int64_t;  ///< counts from 1 in the order of submission
using Token = int64_t;  ///< fences one run of a job: an agent obeys only the token it started with
using NodeId = int;     ///< index in order of first registration
using DeviceId = int;   ///< index over all devices of the cluster
using Sequence = int64_t;  ///< numbers the commands that change limits, over the whole cluster

/// Where a job is, in Slurm's words.
enum class JobState {
  kPending,
  kRunning,
  kCompleted,
  kFailed,
  kCancelled,
  kPreempted,  ///< was stopped with a checkpoint and waits to go on
  kTimeout,    ///< reached its own limit: the joules of its budget
  kNodeFail,   ///< lost its nodes more often than it is run again
};

/// Why a job is not running, or why it was stopped, in Slurm's words where it has them.
enum class Reason {
  kNone,
  kResources,     ///< not enough free devices
  kPriority,      ///< others go first
  kPowerCap,      ///< not enough watts below the cap
  kEnergyBudget,  ///< the tenant's or the job's joules are spent
  kDependency,    ///< a job it waits for is not completed
  kDependencyNeverSatisfied,
  kPreempted,  ///< more valuable progress took its place
  kResize,     ///< runs again with another number of ranks
  kNodeDown,
  kCancelled,
  kNonZeroExit,
  kNodeStartFailure,  ///< a node could not start it; no word against the job
  kReserved,          ///< devices are kept for it as they come free
  kNodesUnavailable,  ///< no type has the devices it needs on nodes that are up and not drained
};

const char* to_string(JobState state);
const char* to_string(Reason reason);

/// What is known at submit time about the work; `wattle-train plan --json` gives it.
struct WorkEstimate {
  double units = 0;  ///< optimizer steps of the whole job, a float run's too; 0 = unknown
  std::string kind;  ///< jobs of one kind are expected to perform alike; "" = like no other
  std::vector<int> rank_counts;  ///< feasible ones within min and max; empty = all of them
  double units_per_second = 0;   ///< predicted on one rank at full power; 0 = unknown
};

/// What the scheduler knows of a job from its submission, after sweeps are expanded.
struct JobRequest {
  std::string name;
  std::string tenant;
  std::string user;  ///< "" = unknown
  int priority = 0;
  std::optional<int64_t> most_priority;  ///< that the user may give; none = any
  int min_ranks = 1;
  int max_ranks = 1;
  std::optional<double> deadline_seconds;
  std::optional<double> energy_budget_joules;
  std::vector<std::string> after;      ///< names; of jobs that an older version took
  std::vector<std::string> overrides;  ///< this job's point of the sweep, a.b=c each
  WorkEstimate work;
};

/// The devices of one node that run ranks of a job.
struct NodeShare {
  NodeId node = 0;
  std::vector<DeviceId> devices;
  double watts = 0;             ///< drawn, as last measured; 0 = not yet
  double reported_seconds = 0;  ///< when its joules were last reported
  bool gone = false;            ///< nothing of the run is left there
};

/// One run of a job, from the decision to start it until its exit is known.
struct Run {
  enum class Phase { kStarting, kRunning, kStopping };
  Token token = 0;
  Phase phase = Phase::kStarting;
  OperatingPoint point;  ///< limit_watts is what the planner wants
  std::vector<NodeShare> shares;
  double issued_watts = 0;  ///< the highest limit of a share's newest command, per device
  double started_seconds = 0;
  double stop_seconds = 0;  ///< when the stop was decided
  Reason stop_reason = Reason::kNone;
  std::optional<int> exit_code;  ///< of the first share
  bool node_failed = false;
  double units_before = 0;  ///< of the job, when it started
  bool killed = false;      ///< its stop took longer than the cap could wait
  bool blameless = false;   ///< a node says that it could not begin, or go on
  std::string cause;        ///< the first one that a node knows of its end
};

/// What is remembered of a run that is over.
struct PastRun {
  double started_seconds = 0;
  double ended_seconds = 0;
  int type = 0;
  int ranks = 0;
  std::vector<NodeId> nodes;
  Reason reason = Reason::kNone;  ///< why it ended, where the job goes on
  std::string why;
};

/// A job and all that happened to it so far.
struct Job {
  JobId id = 0;
  JobRequest request;
  std::string submit_id;  ///< of the client's request
  double submitted_seconds = 0;
  double eligible_seconds = 0;  ///< since when it waits for nothing but its turn
  JobState state = JobState::kPending;
  Reason reason = Reason::kNone;
  std::string explanation;       ///< of the newest decision about it
  bool is_dependent = false;     ///< waits for other jobs (jobs/dependencies.h)
  std::vector<JobId> after;      ///< those; in the state of an older program
  std::vector<int> rank_counts;  ///< feasible counts, ascending
  std::string profile;           ///< its page in the profile book
  std::optional<Run> run;
  int resize_ranks = 0;  ///< that it is stopped for, until it has them; 0 = for no others
  double units_done = 0;
  int node_failures = 0;
  int fruitless_runs = 0;         ///< in a row: stopped of themselves or for joules, no unit done
  double not_before_seconds = 0;  ///< it is not planned until then
  /// Since when joules of its tenant are kept for it: it runs, or is between two runs on other
  /// ranks.
  std::optional<double> claims_since_seconds;
  int start_failures = 0;           ///< in a row: runs that a node could not begin, no unit done
  std::optional<PastRun> last_run;  ///< before `run`
  double ended_seconds = 0;
  int exit_code = 0;
  int64_t kept_bytes =
      0;  ///< about what its runs, and once it has ended all of it, take in a state
};

inline bool is_finished(JobState state) {
  return state != JobState::kPending && state != JobState::kRunning &&
         state != JobState::kPreempted;
}

}  // namespace wattle::scheduler
