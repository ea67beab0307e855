#pragma once

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/job_spec.h"
#include "scheduler/core/domain/node.h"

namespace wattle::scheduler {

/// What can happen to the core. Every event is a plain value: the daemon records it before it is
/// applied, the simulator makes it up. `visit` names the fields of its JSON line.

/// Who hands a job in, and what the operator allows such a one.
struct Submitter {
  std::string user;                      ///< "" = nobody's jobs are counted
  std::optional<int64_t> most_priority;  ///< none = any
  int64_t most_user_jobs = 0;            ///< that have not ended; 0 = any number
  int64_t most_tenant_jobs = 0;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("user", s.user), v("most_priority", s.most_priority);
    v("most_user_jobs", s.most_user_jobs), v("most_tenant_jobs", s.most_tenant_jobs);
  }
};

/// A client hands in one YAML file. The same request_id again changes nothing.
struct Submit {
  static constexpr const char* kName = "submit";
  static constexpr std::string_view kAdded[] = {"submitter"};
  std::string request_id;
  std::string name;
  JobSpec spec;
  WorkEstimate work;
  std::vector<WorkEstimate> point_work;  ///< of each job of the sweep; empty: `work` is that of all
  Submitter submitter;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("request_id", s.request_id), v("name", s.name), v("spec", s.spec), v("work", s.work);
    v("point_work", s.point_work), v("submitter", s.submitter);
  }
};

struct Cancel {
  static constexpr const char* kName = "cancel";
  JobId job = 0;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("job", s.job);
  }
};

/// A run that an agent still holds when it registers.
struct HeldRun {
  Token token = 0;
  std::vector<int> devices;  ///< indices on this node
  double limit_watts = 0;
  double joules = 0;  ///< of this node's share so far
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("token", s.token), v("devices", s.devices), v("limit_watts", s.limit_watts);
    v("joules", s.joules);
  }
};

/// An agent has registered. `epoch` grows with every registration of that node. Where two
/// registrations name the same work_dir (by an id of its own) in the same boot of the machine, the
/// newer agent has taken over what the older one held: what it does not name has ended. "" says
/// nothing.
struct NodeUp {
  static constexpr const char* kName = "node_up";
  /// What older journals don't have.
  static constexpr std::string_view kAdded[] = {"work_dir_id", "boot_id"};
  std::string node;
  int64_t epoch = 0;
  std::vector<DeviceGroup> groups;
  std::vector<HeldRun> runs;
  bool shares_jobs_dir = false;  ///< with all others that do: a job may run on several of them
  std::string work_dir_id = {};
  std::string boot_id = {};
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("epoch", s.epoch), v("groups", s.groups), v("runs", s.runs);
    v("shares_jobs_dir", s.shares_jobs_dir), v("work_dir_id", s.work_dir_id);
    v("boot_id", s.boot_id);
  }
};

/// The stream to an agent is broken, and no lease is renewed from now on.
struct NodeLost {
  static constexpr const char* kName = "node_lost";
  std::string node;
  int64_t epoch = 0;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("epoch", s.epoch);
  }
};

/// The daemon has been away, for how long nobody knows: clocks may have been set meanwhile. Every
/// node counts as lost from now on until it registers again.
struct Restarted {
  static constexpr const char* kName = "restarted";
  template <class Self, class V>
  static void visit(Self&, V&&) {}
};

/// The operator vouches that a node is switched off for good. Of one that may still hold its watts
/// and runs that is believed only if it is forced.
struct NodeRemoved {
  static constexpr const char* kName = "node_removed";
  static constexpr std::string_view kAdded[] = {"force"};
  std::string node;
  bool force = false;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("force", s.force);
  }
};

struct Drain {
  static constexpr const char* kName = "drain";
  std::string node;
  bool on = true;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("on", s.on);
  }
};

/// An agent has applied a command that changes limits (a start counts as one), or a newer one.
struct LimitAcknowledged {
  static constexpr const char* kName = "limit_acknowledged";
  std::string node;
  int64_t epoch = 0;
  Sequence sequence = 0;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("epoch", s.epoch), v("sequence", s.sequence);
  }
};

/// The first rank of a run is up.
struct JobStarted {
  static constexpr const char* kName = "job_started";
  std::string node;
  int64_t epoch = 0;
  Token token = 0;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("epoch", s.epoch), v("token", s.token);
  }
};

/// Nothing of the run is left on this node. The code of the run's first node counts. The journal's
/// name of `blameless` is not_started, as it was when runs that had begun were none of them.
struct JobExited {
  static constexpr const char* kName = "job_exited";
  std::string node;
  int64_t epoch = 0;
  Token token = 0;
  int exit_code = 0;
  double joules = 0;           ///< of this node's share, whole run
  bool blameless = false;      ///< it could not begin, or go on, through no fault of the job's
  bool node_at_fault = false;  ///< and others would have fared no better there
  std::string cause{};         ///< where known; short and printable
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("epoch", s.epoch), v("token", s.token), v("exit_code", s.exit_code);
    v("joules", s.joules), v("not_started", s.blameless), v("node_at_fault", s.node_at_fault);
    v("cause", s.cause);
  }
};

/// What one node saw of a run in a reporting interval, under one limit. `units` and
/// `units_per_second` come from the run's first node, the others leave them out.
struct Measured {
  static constexpr const char* kName = "measured";
  std::string node;
  int64_t epoch = 0;
  Token token = 0;
  double limit_watts = 0;       ///< per device, in force during the interval
  double watts = 0;             ///< drawn by this node's devices of the run
  double joules = 0;            ///< of this node's share since the run began
  std::optional<double> units;  ///< of the job so far, lost steps not counted
  std::optional<double> units_per_second;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("epoch", s.epoch), v("token", s.token), v("limit_watts", s.limit_watts);
    v("watts", s.watts), v("joules", s.joules), v("units", s.units);
    v("units_per_second", s.units_per_second);
  }
};

/// Time passes: leases on watts run out, those on joules are renewed, commands are sent again.
struct Tick {
  static constexpr const char* kName = "tick";
  template <class Self, class V>
  static void visit(Self&, V&&) {}
};

enum class CapTier {
  kHard,  ///< the sum of limits stays below it
  kSoft,  ///< the sum of what is drawn stays below it; slack is lent out
};

struct CapSet {
  static constexpr const char* kName = "cap_set";
  std::string request_id;
  double watts = 0;
  CapTier tier = CapTier::kHard;
  std::optional<double> from_seconds;
  std::optional<double> until_seconds;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("request_id", s.request_id), v("watts", s.watts), v("tier", s.tier);
    v("from_seconds", s.from_seconds), v("until_seconds", s.until_seconds);
  }
};

/// A tenant's joules in each period from now on, and its weight; no joules = unlimited. A period or
/// a weight of 0 stays as it was (30 days and 1 where there was none).
struct BudgetSet {
  static constexpr const char* kName = "budget_set";
  std::string tenant;
  std::optional<double> joules;
  double period_seconds = 0;
  double weight = 0;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("tenant", s.tenant), v("joules", s.joules), v("period_seconds", s.period_seconds);
    v("weight", s.weight);
  }
};

/// What a plan wants of one job. Jobs of the plan that are not named stay as they are.
struct PlannedJob {
  JobId job = 0;
  Token token = 0;                      ///< of the run that is to be moved; 0 = the job waited
  std::optional<OperatingPoint> point;  ///< none: it is to be stopped, or waits on
  Reason reason = Reason::kNone;
  std::string why;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("job", s.job), v("token", s.token), v("point", s.point), v("reason", s.reason);
    v("why", s.why);
  }
};

/// A plan is made (planning.h) from what was so after `seen_events` events, at `made_seconds`,
/// under a cap of `cap_watts`, and of `soft_cap_watts` on what is drawn. Of it counts what is still
/// possible. A long one comes in parts, so that other events get their turn between them: what
/// moves or stops in the first, then what starts, then why the others wait.
struct Planned {
  static constexpr const char* kName = "planned";
  int64_t seen_events = 0;
  double made_seconds = 0;
  double cap_watts = 0;
  std::vector<PlannedJob> jobs;
  std::optional<int64_t> part = {};  ///< of those that follow the first: 1, 2, ...
  double soft_cap_watts = std::numeric_limits<double>::infinity();
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("seen_events", s.seen_events), v("made_seconds", s.made_seconds);
    v("cap_watts", s.cap_watts), v("jobs", s.jobs), v("part", s.part);
    v("soft_cap_watts", s.soft_cap_watts);
  }
};

/// The operator has started the daemon with other options. The cap is no part of it: CapSet
/// changes that.
struct Configured {
  static constexpr const char* kName = "configured";
  static constexpr std::string_view kAdded[] = {"reserve_after_seconds", "history_bytes"};
  std::string policy;
  double eta = 0;
  double lease_seconds = 0;
  double orphan_grace_seconds = 0;
  double history_seconds = 0;
  int64_t history_bytes = 0;           ///< 0 = no bound, as older journals have none
  double reserve_after_seconds = 600;  ///< as PolicyOptions
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("policy", s.policy), v("eta", s.eta), v("lease_seconds", s.lease_seconds);
    v("orphan_grace_seconds", s.orphan_grace_seconds), v("history_seconds", s.history_seconds);
    v("history_bytes", s.history_bytes);
    v("reserve_after_seconds", s.reserve_after_seconds);
  }
  bool operator==(const Configured&) const = default;
};

struct Event {
  double time_seconds = 0;  ///< since 1970; never goes back
  std::variant<Submit, Cancel, NodeUp, NodeLost, Restarted, NodeRemoved, Drain, LimitAcknowledged,
               JobStarted, JobExited, Measured, Tick, CapSet, BudgetSet, Planned, Configured>
      body;
};

}  // namespace wattle::scheduler
