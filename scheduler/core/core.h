#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/core/journal/decision.h"
#include "scheduler/core/journal/event.h"
#include "scheduler/core/policy/policy.h"

namespace wattle::scheduler {

struct PlanRequest;
struct State;

struct CoreOptions {
  double cap_watts = 0;  ///< the hard cap until a CapSet changes it
  PolicyOptions policy;
  double lease_seconds = 6;  ///< an agent that is cut off falls to its safe limits after this
  double orphan_grace_seconds = 20;  ///< and after this much more it has ended its runs
  double clock_margin_seconds = 1;   ///< how far clocks and timers may be off in that ...
  double clock_slew = 0.012;  ///< ... and by how much of it: the daemon's time runs up to 1 % fast,
                              ///< and machines' clocks 0.05 % fast or slow
  double stop_seconds = 7;    ///< runs whose stop the cap waits for are killed after this
  double settle_seconds = 10;  ///< a cap that falls at a known time is planned for this much before
  double resend_seconds = 2;   ///< a limit that is not acknowledged is sent again after this
  double replan_seconds = 30;  ///< planning is repeated at least this often
  double joule_lease_seconds = 60;        ///< runs hold leases for about this long
  double soft_reserve = 0.05;             ///< share of a soft cap that is never lent out
  double aging_seconds = 3600;            ///< a job that waits this long counts twice
  double history_seconds = 90 * 86400.0;  ///< a job that ended so long ago is forgotten
  int64_t history_bytes = 0;    ///< and before that, if more is kept of ended jobs; 0 = no bound
  int node_failure_limit = 3;   ///< a job that loses its nodes more often ends NODE_FAIL
  int start_failure_limit = 8;  ///< so does one that nodes could not begin more often in a row
  int node_start_failures = 3;  ///< a node that can't begin so many runs in a row is drained
};

/// The scheduler as a pure function of its events: no clock, files, threads or randomness. Equal
/// events give equal decisions, to the last byte of their JSON lines.
///
/// Not thread-safe; one thread feeds it. A decision must be durable before it is carried out;
/// events that cross it on the way are sorted out by tokens, epochs and sequences (event.h,
/// decision.h).
///
/// Plans take long and are therefore made outside: whoever drives the core asks whether one is due,
/// makes it from a request (planning.h) while the core goes on, and applies it as an event.
class Core {
 public:
  /// Throws Error(kConfig) if an option is impossible.
  explicit Core(const CoreOptions& options);
  /// Goes on from a state that was kept.
  explicit Core(std::unique_ptr<State> state);
  ~Core();

  /// Time must not go back (Error(kInternal)). What a client or an agent gets wrong is a Refused
  /// decision, never an exception. If it throws, the state may be half-changed: this core must not
  /// be used any more.
  std::vector<Decision> apply(const Event& event);

  /// What would be decided about what a user asks for, at the event's time, if that changes
  /// nothing: such an event need not be applied. Nothing if it is to be.
  std::optional<std::vector<Decision>> answer_without_change(const Event& event) const;

  /// Whether a Tick at this moment would do anything. One that would not need not be applied.
  bool is_tick_due(double now_seconds) const;
  /// Whether something has happened, or enough time passed, for another plan.
  bool is_plan_due(double now_seconds) const;
  PlanRequest request_plan(double now_seconds);

  /// What is, for tables and metrics; see engine/state.h.
  const State& state() const { return *state_; }

  /// Why a job is where it is: its state, what the newest decision about it said, why its last run
  /// ended if it waits to go on, and the decisions before. Throws Error(kConfig) for a job that is
  /// unknown.
  std::string explain(JobId job) const;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace wattle::scheduler
