#pragma once

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "scheduler/core/core.h"
#include "scheduler/core/domain/node.h"
#include "scheduler/core/jobs/dependencies.h"
#include "scheduler/core/jobs/ended_jobs.h"
#include "scheduler/core/joules/joule_ledger.h"
#include "scheduler/core/plan/device_pool.h"
#include "scheduler/core/plan/timeline.h"
#include "scheduler/core/planning.h"
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

/// Jobs of one priority that wait, as a new one finds them before it.
struct QueueAhead {
  std::vector<double> device_seconds;  ///< by type; infinite where one's length is unknown
  Amount claimed;                      ///< of what is free at once
  bool holds_all = false;              ///< the policy lets nothing pass one of them
};

/// What admission needs to say when a job may start.
struct Outlook {
  std::vector<CapChange> caps;      ///< that may be planned with, now and when they change
  Timeline timeline{0, {}, {}};     ///< without those that wait, but for starts that are planned
  std::map<int, QueueAhead> queue;  ///< by priority
  std::vector<int> capacity;        ///< by type
  /// Joules that are kept for runs, by tenant and priority (joule_claims.h).
  std::map<std::string, std::map<int, double>> kept_joules;
  double made_seconds = -std::numeric_limits<double>::infinity();
};

/// Of the cap, for a node that waits to join.
struct Joining {
  double watts = 0;
  double until_seconds = 0;  ///< unless it asks again
};

struct Tenant {
  std::string name;
  double weight = 1;
};

/// What the devices of a type draw when idle; DeviceType::idle_watts is the lowest of them. A plan
/// knows devices by type and counts all of one with the same idle draw. Both ways keep the cap:
/// with the lowest a run may seem to take too much, with the highest a device without a run. Where
/// all can run it is the highest (all_can_run()), for then none of them need wait; else the lowest.
struct IdleDraw {
  double highest_watts = 0;
  double up_watts = 0;  ///< of the devices on nodes that are up, together
};

/// All that the core knows. The engine's functions change it; everyone else reads.
struct State {
  explicit State(const CoreOptions& options);

  /// Counts a job of a user among those that have not ended, or no more.
  void count_unended(const Job& job, int change);
  /// Something has happened that a plan should know of.
  void note_change() { changed_event = events; }

  CoreOptions options;
  std::shared_ptr<const Policy> policy;
  double now_seconds = 0;
  int64_t events = 0;  ///< that were applied, the present one included

  std::vector<DeviceType> types;  ///< no two the same; plans name them by their index
  std::vector<Node> nodes;
  std::map<std::string, NodeId> node_by_name;
  std::vector<Device> devices;
  std::set<NodeId> lost_nodes;
  std::map<std::string, Joining> joining;  ///< by node
  std::vector<int> installed;              ///< devices by type, of all nodes that are not removed
  std::vector<int> up;                     ///< of them, those on nodes that are up
  std::vector<int> widest;                 ///< of them, the most by type that one job can have
  std::vector<IdleDraw> idle_draws;        ///< by type, as `installed`
  double least_cap_watts = 0;              ///< idle devices, and lost nodes at safe limits
  DevicePool pool;

  std::map<JobId, Job> jobs;  ///< finished ones, too, until they are forgotten
  std::set<JobId> waiting;    ///< pending or preempted
  std::set<JobId> running;    ///< hold devices
  Dependencies dependencies;  ///< of jobs that have not ended
  EndedJobs ended;
  std::set<std::pair<double, JobId>> resting;  ///< jobs by Job::not_before_seconds, some over
  double forgot_seconds = 0;                   ///< when old ones were last looked for
  std::map<Token, JobId> job_of_token;         ///< of runs that hold devices
  std::map<Token, JobId> owner_of_token;       ///< of all runs of these jobs
  std::map<std::string, std::vector<JobId>> jobs_of_request;
  std::map<JobId, Accepted> acceptances;  ///< see acceptance_of()
  /// Of (tenant, user), and of (tenant, "") in all.
  std::map<std::pair<std::string, std::string>, int64_t> unended_jobs;
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
  std::optional<double> over_cap_seconds;  ///< since when limits exceed the cap that is planned for
  int64_t changed_event = 0;               ///< the newest event that a plan should know of
  int64_t new_job_event = 0;               ///< the same, but while many wait it may wait, too
  int64_t planned_event = 0;               ///< the newest one that the newest plan has seen
  double planned_seconds = 0;
  double planned_cap_watts = 0;
  double planned_soft_cap_watts = std::numeric_limits<double>::infinity();
  Outlook outlook;  ///< as of a recent submit, and with what was taken since
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

class JouleClaims;

// intake.cpp: what users ask for
void on(Round& round, const Submit& event);
void on(Round& round, const Cancel& event);
/// What would be decided if that changes nothing: why it is refused, or not a word about a request
/// that is known. Nothing if it is to be applied.
std::optional<Decisions> answer_without_change(const State& state, const Submit& event,
                                               double now_seconds);
std::optional<Decisions> answer_without_change(const State& state, const Cancel& event,
                                               double now_seconds);

// waiting.cpp: jobs that wait for others
/// The new jobs of a request begin to wait for others; `after` ascends and may be empty.
void begin_to_wait(Round& round, const std::vector<JobId>& ids, std::vector<JobId> after);
/// A job has ended: it waits for nothing any more, and who waited for it goes on or never will.
void end_of_waiting(Round& round, Job& ended);
/// Of a state that has been read. An older program kept Job::after, at times with what is
/// completed.
void restore_dependencies(State& state);
/// The first job that a dependent one waits for, as it is now, and how many more.
std::string waits_now(const State& state, const Job& job);

// budgets.cpp: what operators allow
void on(Round& round, const CapSet& event);
void on(Round& round, const BudgetSet& event);
void on(Round& round, const Configured& event);
void renew_leases(Round& round);
/// What a run that has just been started may use, so that no other start counts on it.
void lease_start(Round& round, Job& job, JouleClaims& claims);
bool is_renewal_due(const State& state);

// registration.cpp: agents that register
void on(Round& round, const NodeUp& event);
/// Why a registration that is not to be refused can't be taken yet; "" if it can.
std::string must_wait(const State& state, const NodeUp& event);

// fleet.cpp: what happens to nodes
void on(Round& round, const NodeLost& event);
void on(Round& round, const Restarted& event);
void on(Round& round, const NodeRemoved& event);
void expire_leases(Round& round);
bool is_expiry_due(const State& state, double now_seconds);
/// From then on a lost node is surely at its safe limits.
double lease_end(const State& state, const Node& node);
/// And from then on surely without runs.
double orphans_end(const State& state, const Node& node);
std::set<JobId> jobs_on(const State& state, const Node& node);
/// What a node holds of a job that runs; nullptr if nothing.
const NodeShare* share_on(const Job& job, NodeId node);
NodeShare* share_on(Job& job, NodeId node);
/// Whether a node holds a run now.
bool holds(const State& state, Token token, const std::string& node);
/// Whether a node has a say about a run: it was started there, too, and the node has not told its
/// end yet, even where it counts as lost.
bool may_report(const State& state, Token token, const std::string& node);

// drains.cpp: nodes that take nothing more
void on(Round& round, const Drain& event);
/// `reason`: "" where an operator does it.
void set_drained(Round& round, Node& node, bool on, const std::string& reason);

// runs.cpp: what happens to runs
void on(Round& round, const LimitAcknowledged& event);
void on(Round& round, const JobStarted& event);
void on(Round& round, const JobExited& event);
void on(Round& round, const Measured& event);
void on(Round& round, const Tick& event);
void stop_run(Round& round, Job& job, Reason reason, const std::string& why);
/// What a node says of its share of a run, since that began, takes the place of an estimate.
void report_joules(Round& round, Token token, const Node& node, double total);
/// Nothing of the run is left on a node: with its exit code, or with none if the node was lost.
void end_share(Round& round, Job& job, NodeId node, std::optional<int> exit_code);

// forgetting.cpp: jobs that ended long ago, or of which too much is kept
void forget_old_jobs(Round& round);
bool is_forgetting_due(const State& state, double now_seconds);
/// What Job::kept_bytes grows by when the job ends, and with each of its runs.
int64_t bytes_of_end(const State& state, const Job& job);
inline constexpr int64_t kBytesOfRun = 30;

// planned.cpp: what a plan wants becomes what is wanted
void on(Round& round, const Planned& event);

// planner.cpp: what a plan is made from
bool is_plan_due(const State& state, double now_seconds);
PlanRequest request_plan(State& state, double now_seconds);
/// Everything but the jobs.
Snapshot make_snapshot(const State& state, double now_seconds);
/// The whole cluster at a moment under the caps that are known, with nothing to run but this job.
Snapshot make_snapshot_alone(State& state, const Job& job, double at_seconds);
/// Whether the devices of a share count as the planner's: its run can be moved, or is about to end
/// and leaves them to others.
bool planned_with(const State& state, const Job& job, const NodeShare& share);
/// A run that can be moved now: it is not stopping, and all of its nodes are in reach.
bool steerable(const State& state, const Job& job);
/// Whether a run is on a drained node. It goes on there; its devices are nobody else's.
bool stays(const State& state, const Job& job);

// reconciler.cpp: towards the wanted state, lower before raise
void reconcile(Round& round);
/// What limits may be raised by, of the cap that is planned with.
double headroom(const State& state);
/// Of these devices on their node.
std::vector<int> indices_on(const Node& node, const std::vector<DeviceId>& devices);
bool is_resend_due(const State& state, double now_seconds);
bool is_cap_overdue(const State& state, double now_seconds);

// outlook.cpp: when a new job can start
/// Makes State::outlook anew, unless it is as good as new: with many jobs, what comes free changes
/// slowly against the whole of it.
void look_ahead(State& state);
/// A job that has been taken waits, too.
void join_queue(State& state, const Job& job);
/// When the job is expected to start on any type; nothing if that can't be told.
std::optional<double> expected_start(const State& state, const Job& job);
/// Joules of its tenant that are kept for runs which go before it.
double kept_joules(const State& state, const Job& job);

// caps_ahead.cpp: what caps leave for runs, now and later
/// What of the cap is taken before any run that can be planned: idle devices, nodes out of reach,
/// runs that can't be steered now.
double base_watts(const State& state);
/// What devices were measured to draw less than their limits.
double measured_slack(const State& state);
/// What limits may sum up to.
struct PlanCap {
  double watts = 0;
  double slack_watts = 0;  ///< of them; with a soft cap, limits may exceed it by the slack
};
PlanCap cap_for_plan(const State& state, double at_seconds, double slack_watts);
/// The caps that may be planned with, now and from each later moment on at which they change, as
/// far as is known; and what they leave for runs, as Snapshot::watts.
std::vector<CapChange> caps_ahead(const State& state);
std::vector<CapChange> watts_ahead(const State& state);
/// When what limits may sum up to under the hard and the soft cap falls, and to how much.
std::vector<CapChange> falls_after(const State& state, double seconds);
/// The lowest cap that begins too soon for a run that it does not hold to be worth its start.
std::optional<CapChange> fall_ahead(const State& state, double now_seconds);
/// Whether such a cap holds the job, or it is expected to be done before.
bool outlasts(const State& state, const Job& job, const CapChange& fall, double now_seconds);

// starts.cpp
/// Starts what the plan wants, in its order; the first that has devices but no watts holds all
/// behind it.
void start_pending(Round& round);

// admission.cpp: what a new job is expected to use
Accepted expect(State& state, const Job& job);
/// Whether a cap holds the job's fewest ranks at the lowest limit, beside idle devices and nodes
/// out of reach.
bool fits_alone(const State& state, const Job& job, double cap_watts);
/// Draw above idle of the fewest ranks of a job at the type's lowest limit.
double least_watts(const State& state, const Job& job, int type);
/// Keeps what was answered, for a request that comes again; what stands in the job does so once.
void keep_acceptance(State& state, const Job& job, Accepted accepted);
/// Nothing for a job that is not there.
std::optional<Accepted> acceptance_of(const State& state, JobId job);
/// "" or why the job can never run.
std::string never_fits(const State& state, const Job& job, double now_seconds);
/// The joules that a start takes: 30 s at the type's lowest limit, for start-up and a checkpoint.
double start_joules(const State& state, int type, int ranks);
/// Those of the job's cheapest start on the devices that are installed.
double least_start_joules(const State& state, const Job& job);
/// Whether neither tenant nor job is short of so many joules, beside those that are kept for runs
/// of the tenant which go before it.
bool has_joules(const State& state, const Job& job, double joules, double kept_joules);
/// "" or who is short of the joules of a start, the job's cheapest unless said, with the numbers.
std::string short_of_joules(const State& state, const Job& job, double kept_joules);
std::string short_of_joules(const State& state, const Job& job, double kept_joules, double joules);

// rebuild.cpp: what follows from the rest, after a state has been read
void rebuild(State& state);

/// What the newest decision about a job said, brought up to date where it waits for joules or other
/// jobs, and why its last run ended where it waits to go on: a plan may have refused it since.
std::string why_now(const State& state, const Job& job);

/// The node of an agent's message if it is up and the epoch is the current one.
Node* live_node(State& state, const std::string& name, int64_t epoch);
const Node* live_node(const State& state, const std::string& name, int64_t epoch);
/// Whether a share can be told anything now.
bool in_reach(const State& state, const NodeShare& share);
/// The limit of the newest command to a share, per device.
double issued_watts(const State& state, const NodeShare& share);
/// Of the run's shares that are not gone, the highest.
double issued_watts(const State& state, const Run& run);
/// Gives a device that no run holds any more back to the pool, if it may be used.
void free_device(State& state, DeviceId device);
/// The cap on the sum of limits that holds for decisions made at a moment.
double cap_ahead(const State& state, double now_seconds);
/// The same without what is kept for nodes that wait to join.
double planning_cap(const State& state, double now_seconds);
/// The same of the soft cap on what is drawn; infinite where there is none.
double planning_soft_cap(const State& state, double now_seconds);
/// Whether so many devices of each type draw no more than this when all run at their lowest limits.
bool all_can_run(const State& state, const std::vector<int>& devices, double watts);
/// Brings State::installed, what the types draw when idle, and least_cap_watts up to date after a
/// node's state or watts have changed.
void count_fleet(State& state);
/// Of all devices of these groups, and of the node's devices one by one, as the ledger counts them.
double counted_idle_watts(const std::vector<DeviceGroup>& groups);
void note_idle_watts(State& state, Node& node);

}  // namespace wattle::scheduler
