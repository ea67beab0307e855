#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "scheduler/core/domain/job.h"

namespace wattle::scheduler {

/// What the core decides. The daemon makes a decision durable before it carries it out; carrying
/// the same one out twice changes nothing. `why` is for people.

/// A job is taken, with what it is expected to use when it runs as it would now (unknown = absent).
struct Accepted {
  static constexpr const char* kName = "accepted";
  std::string request_id;
  JobId job = 0;
  std::string name;
  std::vector<std::string> overrides;
  double watts = 0;
  std::optional<double> joules;
  std::optional<double> run_seconds;
  std::optional<double> start_seconds;
  std::string why;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("request_id", s.request_id), v("job", s.job), v("name", s.name), v("overrides", s.overrides);
    v("watts", s.watts), v("joules", s.joules), v("run_seconds", s.run_seconds);
    v("start_seconds", s.start_seconds), v("why", s.why);
  }
};

/// A request (or what an agent said) is refused.
struct Refused {
  static constexpr const char* kName = "refused";
  std::string what;  ///< the request's id, or the node's name
  std::string why;
  std::optional<double> needed_watts;  ///< the cap that would have worked
  bool is_exhausted = false;           ///< it is as much as may be had at a time: later it may do
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("what", s.what), v("why", s.why), v("needed_watts", s.needed_watts);
    v("is_exhausted", s.is_exhausted);
  }
};

/// The part of a start that one agent carries out: set the limit, then run the ranks.
struct StartShare {
  std::string node;
  std::vector<int> devices;  ///< indices on that node
  Sequence sequence = 0;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("devices", s.devices), v("sequence", s.sequence);
  }
};

struct Start {
  static constexpr const char* kName = "start";
  JobId job = 0;
  Token token = 0;
  std::string device_type;
  int ranks = 0;
  double limit_watts = 0;          ///< per device
  std::vector<StartShare> shares;  ///< the first one runs mpirun
  std::string why;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("job", s.job), v("token", s.token), v("device_type", s.device_type), v("ranks", s.ranks);
    v("limit_watts", s.limit_watts), v("shares", s.shares), v("why", s.why);
  }
};

/// Sent again under the same sequence until it is acknowledged.
struct SetLimit {
  static constexpr const char* kName = "set_limit";
  JobId job = 0;
  Token token = 0;
  std::string node;
  std::vector<int> devices;
  double limit_watts = 0;
  Sequence sequence = 0;
  std::string why;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("job", s.job), v("token", s.token), v("node", s.node), v("devices", s.devices);
    v("limit_watts", s.limit_watts), v("sequence", s.sequence), v("why", s.why);
  }
};

/// Stop a run with a checkpoint (SIGUSR1 first); for a resize it is started again when it is gone.
struct Stop {
  static constexpr const char* kName = "stop";
  JobId job = 0;
  Token token = 0;
  Reason reason = Reason::kNone;
  std::vector<std::string> nodes;
  std::string why;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("job", s.job), v("token", s.token), v("reason", s.reason), v("nodes", s.nodes),
        v("why", s.why);
  }
};

/// A run is moved to more or fewer ranks: it is stopped (a Stop follows) and started again.
struct Resize {
  static constexpr const char* kName = "resize";
  JobId job = 0;
  int from_ranks = 0;
  int to_ranks = 0;
  std::string why;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("job", s.job), v("from_ranks", s.from_ranks), v("to_ranks", s.to_ranks), v("why", s.why);
  }
};

/// The joules that a share of a run may use in all; its agent stops the run when they are used.
struct LeaseJoules {
  static constexpr const char* kName = "lease_joules";
  JobId job = 0;
  Token token = 0;
  std::string node;
  double joules = 0;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("job", s.job), v("token", s.token), v("node", s.node), v("joules", s.joules);
  }
};

/// A node holds a run that is not ours any more: end it at once.
struct Kill {
  static constexpr const char* kName = "kill";
  std::string node;
  Token token = 0;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("token", s.token);
  }
};

/// A job's state or the reason it waits has changed.
struct JobChanged {
  static constexpr const char* kName = "job_changed";
  JobId job = 0;
  JobState state = JobState::kPending;
  Reason reason = Reason::kNone;
  std::string why;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("job", s.job), v("state", s.state), v("reason", s.reason), v("why", s.why);
  }
};

/// A cap, budget, drain or registration is taken.
struct Noted {
  static constexpr const char* kName = "noted";
  std::string what;
  std::string why;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("what", s.what), v("why", s.why);
  }
};

/// A registration can't be taken yet: the node is what it was. Its agent is to register again.
struct Deferred {
  static constexpr const char* kName = "deferred";
  std::string node;
  std::string why;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("node", s.node), v("why", s.why);
  }
};

/// What a lost share of a run is charged for beyond its reports. It takes the place of what was
/// said before; 0 = its node has reported, and nothing is estimated any more.
struct Estimated {
  static constexpr const char* kName = "estimated";
  JobId job = 0;
  Token token = 0;
  std::string tenant;
  std::string node;
  double joules = 0;
  template <class Self, class V>
  static void visit(Self& s, V&& v) {
    v("job", s.job), v("token", s.token), v("tenant", s.tenant), v("node", s.node);
    v("joules", s.joules);
  }
};

using Decision = std::variant<Accepted, Refused, Start, SetLimit, Stop, Resize, LeaseJoules, Kill,
                              JobChanged, Noted, Deferred, Estimated>;

}  // namespace wattle::scheduler
