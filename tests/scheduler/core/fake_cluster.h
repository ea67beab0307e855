#pragma once

#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "scheduler/core/core.h"
#include "scheduler/core/engine/state.h"
#include "scheduler/core/planning.h"

namespace wattle::scheduler {

/// How messages travel between the core and the agents.
struct Network {
  double shortest_seconds = 0.01;
  double longest_seconds = 0.05;
  double loss = 0;  ///< share of limits and acknowledgements that never arrive
};

/// Agents, a network and jobs around a core, in simulated time: what agents promise (cap_ledger.h)
/// is kept here, and what is really in force on every device can be looked at.
class FakeCluster {
 public:
  FakeCluster(const CoreOptions& options, uint64_t seed);

  Network network;
  /// Seconds that a job needs for its checkpoint when it is told to stop.
  double checkpoint_seconds = 1;
  std::set<JobId> deaf;  ///< their limits can't be set: nothing happens, nothing is acknowledged
  /// Why no node can begin a run; "" = they can. Whose fault it is.
  std::string start_fault;
  bool start_fault_is_the_nodes = false;
  /// Whether the nodes that register share the folder of jobs.
  bool shares_jobs_dir = true;
  /// A plan takes up to so long, in which the core goes on.
  double planning_seconds = 0;
  /// What is checked after every event and at every moment at which something changes.
  std::function<void()> check;

  /// A node that is switched on and registers, again and again until it is taken.
  void add_node(const std::string& name, const DeviceGroup& group);
  /// Gives the event to the core and carries out what it decides.
  std::vector<Decision> apply(decltype(Event::body) body);
  /// Submits a job of so many units and gives its number; 0 if it was refused.
  JobId submit(const std::string& name, int min_ranks, int max_ranks, double units,
               const std::function<void(Submit&)>& edit = {});
  /// Runs the clock on, with a tick of the core and reports of the agents every second.
  void run(double seconds);
  bool run_until_idle(double most_seconds);

  /// The stream breaks; jobs go on until the agent's lease runs out.
  void cut_off(const std::string& node);
  /// The machine dies with all that runs on it.
  void power_off(const std::string& node);
  void reconnect(const std::string& node);
  /// What the node's agent finds its devices to draw when idle, from its next registration on.
  void measure_idle(const std::string& node, double watts_each);
  /// An agent of that name begins without what the one before left, which goes on as its lease lets
  /// it: on the same devices, with another work_dir.
  void start_elsewhere(const std::string& node);
  /// The operator removes a node; what the core refuses is left out.
  void remove(const std::string& node);
  /// Whether the node's newest registration was taken.
  bool is_connected(const std::string& node) const { return agents_.at(node).connected; }

  double now() const { return now_; }
  /// The sum of the limits that are really in force, idle devices at their idle draw; a node counts
  /// from its first registration that was taken.
  double in_force_watts() const;
  /// Runs of a job that really exist somewhere.
  int live_runs(JobId job) const;
  const Job& job(JobId id) const { return core.state().jobs.at(id); }
  double uniform(double low, double high);

  /// Units a second of a job's ranks at a limit, relative to one rank at 250 W.
  std::function<double(JobId, int ranks, double limit)> speed;
  std::function<double(JobId, double limit)> draw;  ///< watts a device

  Core core;
  std::vector<std::string> event_lines, decision_lines;  ///< the journal
  bool keep_journal = false;

 private:
  struct Held {  ///< a run's share on a node
    JobId job = 0;
    std::vector<int> devices;
    double limit = 0;
    Sequence applied = 0;
    double joules = 0;
    double joules_lease = 1e300;
  };
  struct Orphan {  ///< left by an agent that is gone
    Token token = 0;
    Held held;
    double lease_end = 0, orphans_end = 0;
  };
  struct Agent {
    std::string name;
    DeviceGroup group;  ///< as the core has taken it
    std::optional<double> measured_idle_watts;
    int64_t epoch = 0;
    bool connected = false;
    bool is_waiting = false;  ///< for its registration to be taken
    bool counts = false;
    int place = 1;  ///< its work_dir
    std::vector<Orphan> orphans;
    bool powered = true;
    double lease_end = 0;  ///< while it is not connected
    double orphans_end = 0;
    std::map<Token, Held> runs;
    double last_delivery = 0;  ///< starts and stops arrive in order
  };
  struct Moment {
    double seconds;
    int64_t order;
    std::function<void()> action;
    bool operator<(const Moment& other) const {
      return seconds != other.seconds ? seconds > other.seconds : order > other.order;
    }
  };
  struct Progress {
    double units = 0, total = 0;
  };

  void knock(const std::string& node);
  void answer(Agent& agent, const NodeUp& up, const std::vector<Decision>& decisions);
  void after(double seconds, std::function<void()> action);
  double delay() { return uniform(network.shortest_seconds, network.longest_seconds); }
  void deliver(const Decision& decision);
  void to_agent(const std::string& node, bool ordered, std::function<void(Agent&)> action);
  template <class Message>
  void to_core(const Agent& agent, Message message);
  void start(Agent& agent, const Start& start, const StartShare& share);
  void end_run(Token token, int exit_code);
  void exit_share(Agent& agent, Token token, int exit_code);
  void second();
  void plan_if_due();
  void fall_back(Agent& agent);
  void progress_jobs();
  bool whole(Token token) const;

  std::mt19937_64 random_;
  double now_ = 1000;
  bool is_planning_ = false;
  std::string knocking_;  ///< the node whose registration is being applied
  int64_t order_ = 0;
  std::priority_queue<Moment> moments_;
  std::map<std::string, Agent> agents_;
  std::map<JobId, Progress> progress_;
  std::map<Token, Start> starts_;
};

}  // namespace wattle::scheduler
