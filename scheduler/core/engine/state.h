#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "scheduler/core/core.h"
#include "scheduler/core/domain/node.h"
#include "scheduler/core/joules/joule_ledger.h"
#include "scheduler/core/plan/device_pool.h"
#include "scheduler/core/plan/timeline.h"
#include "scheduler/core/power/cap_ledger.h"
#include "scheduler/core/power/cap_schedule.h"
#include "scheduler/core/profile/profile_book.h"

namespace wattle::scheduler {

using Decisions = std::vector<Decision>;

/// A decision in a job's history.
struct Remark {
  double time_seconds = 0;
  std::string text;
};

/// A start that the plan wants and that waits for devices or watts.
struct PendingStart {
  JobId job = 0;
  OperatingPoint point;
  std::string why;
};

/// What admission needs to say when a job may start.
struct Outlook {
  Timeline timeline{0, {}, {}};
  std::vector<double> queued_device_seconds;  ///< by type
  std::vector<int> capacity;                  ///< by type
};

struct Tenant {
  std::string name;
  double weight = 1;
};

/// All that the core knows. The engine's functions change it; everyone else reads.
struct State {
  explicit State(const CoreOptions& options);

  CoreOptions options;
  std::unique_ptr<Policy> policy;
  double now_seconds = 0;

  std::vector<DeviceType> types;
  std::vector<Node> nodes;
  std::map<std::string, NodeId> node_by_name;
  std::vector<Device> devices;
  std::set<NodeId> lost_nodes;
  std::vector<int> installed;  ///< devices by type, of all nodes that are not removed
  double least_cap_watts = 0;  ///< idle devices, and nodes that are out of reach at safe limits
  DevicePool pool;

  std::map<JobId, Job> jobs;              ///< finished ones, too
  std::set<JobId> waiting;                ///< pending or preempted
  std::set<JobId> running;                ///< hold devices
  std::set<JobId> dependent;              ///< wait for other jobs
  std::map<Token, JobId> job_of_token;    ///< of runs that hold devices
  std::map<Token, JobId> owner_of_token;  ///< of all runs there ever were
  std::map<std::string, std::vector<JobId>> jobs_of_request;
  std::map<JobId, Accepted> acceptances;  ///< what was answered, for a request that comes again
  std::map<std::pair<std::string, std::string>, std::vector<JobId>>
      jobs_by_name;  ///< (tenant, name)
  std::map<JobId, std::vector<Remark>> history;
  JobId last_job = 0;
  Token last_token = 0;

  std::map<std::string, Tenant> tenants;
  JouleLedger joules;
  CapLedger ledger;
  CapSchedule hard_cap;
  std::optional<CapSchedule> soft_cap;
  ProfileBook profiles;

  std::vector<PendingStart> pending_starts;
  std::set<JobId> to_adjust;  ///< running jobs whose wanted limit is not the issued one
  std::map<Sequence, double> sent_seconds;
  bool dirty = false;         ///< something has happened that a plan should know of
  bool has_new_jobs = false;  ///< the same, but while many wait it may wait, too
  double planned_seconds = 0;
  double planned_cap_watts = 0;
  Outlook outlook;  ///< as of the newest plan
};

/// What the engine's functions work on: the state, and where decisions go.
struct Round {
  State& state;
  Decisions& out;

  /// Adds a decision, and to the job's history.
  void decide(JobId job, Decision decision, const std::string& remark);
  /// Moves a job to a state and says so if anything is new.
  void change(Job& job, JobState to, Reason reason, const std::string& why);
};

// intake.cpp: what users ask for
void on(Round& round, const Submit& event);
void on(Round& round, const Cancel& event);
void release_dependents(Round& round);

// budgets.cpp: what operators allow
void on(Round& round, const CapSet& event);
void on(Round& round, const BudgetSet& event);
void renew_leases(Round& round);

// fleet.cpp: what happens to nodes
void on(Round& round, const NodeUp& event);
void on(Round& round, const NodeLost& event);
void on(Round& round, const NodeRemoved& event);
void on(Round& round, const Drain& event);
void expire_leases(Round& round);

// runs.cpp: what happens to runs
void on(Round& round, const LimitAcknowledged& event);
void on(Round& round, const JobStarted& event);
void on(Round& round, const JobExited& event);
void on(Round& round, const Measured& event);
void on(Round& round, const Tick& event);
void stop_run(Round& round, Job& job, Reason reason, const std::string& why);
/// Nothing of the run is left on a node: with its exit code, or with none if the node was lost.
void end_share(Round& round, Job& job, NodeId node, std::optional<int> exit_code);

// planner.cpp: from the state to a wanted state
void plan_if_due(Round& round);
void plan(Round& round);
Snapshot make_snapshot(State& state);
/// What of the cap is taken before any run that can be planned: idle devices, nodes out of reach,
/// runs that can't be steered now.
double base_watts(const State& state);

// reconciler.cpp: towards the wanted state, lower before raise
void reconcile(Round& round);

// admission.cpp: what a new job is expected to use
Accepted expect(State& state, const Job& job);
/// "" or why the job can never run.
std::string never_fits(State& state, const Job& job);

/// The node of an agent's message if it is up and the epoch is the current one.
Node* live_node(State& state, const std::string& name, int64_t epoch);
/// Gives a device that no run holds any more back to the pool, if it may be used.
void free_device(State& state, DeviceId device);
/// The cap on the sum of limits that holds for decisions made now.
double planning_cap(const State& state);
/// Brings State::installed and least_cap_watts up to date after a node's state has changed.
void count_fleet(State& state);

}  // namespace wattle::scheduler
