#pragma once

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/error.h"
#include "scheduler/core/core.h"
#include "scheduler/core/engine/state.h"
#include "scheduler/core/planning.h"
#include "scheduler/daemon/journal/restore.h"
#include "scheduler/daemon/journal/snapshots.h"
#include "scheduler/daemon/steady_clock.h"

namespace wattle::scheduler {

using EventBody = decltype(Event::body);

/// An earlier event has thrown inside of the core, which may be half-changed and takes nothing
/// more.
class CoreHalted : public Error {
 public:
  explicit CoreHalted(const std::string& why) : Error(ErrorCode::kInternal, why) {}
};

/// The core with its journal: an event is applied at once, and event and decisions become durable
/// together, with what they change in the accounts, many events in one transaction; only then are
/// the decisions carried out and the caller told. At the start the newest snapshot is taken and
/// what came after it replayed; what the journal says must be what the core decides now, but for
/// rounding. The state is kept again after many events, for another version of the program, and at
/// the end.
///
/// If the store fails (a full disk), nothing is carried out and nobody is told until it works
/// again: it is tried every half second.
///
/// If an event throws, it is not in the journal, its caller gets Error(kInternal), and every later
/// event CoreHalted; what was applied before still becomes durable. The program is to end: the next
/// start goes on from the journal.
///
/// Members may be called from any thread.
class JournalledCore {
 public:
  /// Adds what belongs to an event in the same transaction. Called with the core locked.
  using Attachment = std::function<void(const std::vector<Decision>&, const State&, StoreBatch&)>;
  /// Carries durable decisions out, in the journal's order, on one thread. Must not call apply().
  using Deliver = std::function<void(const Event&, const std::vector<Decision>&)>;

  /// Throws as restore_core() does, and as the store does if a new journal can't be begun. The
  /// options count for a new journal; an old one goes on with those that it has.
  JournalledCore(Store& store, const CoreOptions& first_options, const JournalLimits& limits,
                 const std::function<double()>& now_seconds, Deliver deliver);
  ~JournalledCore();
  JournalledCore(const JournalledCore&) = delete;
  JournalledCore& operator=(const JournalledCore&) = delete;

  /// Returns when the decisions are durable and delivered. What a user asks for that changes
  /// nothing is answered as the core would, without a record, and without `attach`.
  std::vector<Decision> apply(EventBody body, const Attachment& attach = {});
  /// The same without waiting.
  void post(EventBody body, const Attachment& attach = {});
  /// Seconds since 1970 by the time of the events. Where the clock was ahead at an earlier start,
  /// it goes on from the journal's last event and nears the clock as SteadyClock does.
  double now() { return clock_.now(); }
  /// Waits until everything so far is durable and delivered, or the store fails.
  void settle();
  /// Waits until everything so far is durable and delivered, however long the store fails.
  void catch_up();
  /// The daemon stops: from now on nobody waits for a store that fails.
  void end_patience();
  /// Lets time pass: applies a Tick if one would do anything.
  void tick();
  /// What a plan is to be made from, if one is due; it comes back as an event.
  std::optional<PlanRequest> plan_request();
  enum class Wait { kNot, kUntilDurable };
  /// Makes records durable that belong to no event, and waits for it if it shall.
  void record(StoreBatch batch, Wait wait = Wait::kUntilDurable);

  /// Reads the core's state; nothing changes meanwhile. Must not call back.
  template <class Read>
  auto read(Read&& reader) const {
    const std::lock_guard lock(mutex_);
    return reader(static_cast<const Core&>(*core_));
  }
  /// Reads the store; nothing is committed meanwhile.
  template <class Read>
  auto read_store(Read&& reader) {
    const std::lock_guard lock(store_mutex_);
    return reader(store_);
  }

  /// "" or why nothing can be recorded at the moment: the store does not take it, or the core has
  /// halted.
  std::string store_fault() const;
  SnapshotStatus snapshot_status() const { return snapshots_.status(); }
  /// Throws CoreHalted if it has.
  void require_running() const;

 private:
  struct Entry {
    int64_t number = 0;
    Event event;
    std::vector<Decision> decisions;
  };
  /// With the core locked.
  int64_t enqueue(EventBody body, const Attachment& attach, std::vector<Decision>* decisions);
  int64_t take(Event& event, const Attachment& attach, std::vector<Decision>* decisions);
  void add(StoreBatch& batch);
  JournalledCore(Store& store, RestoredCore restored, const JournalLimits& limits,
                 const std::function<double()>& now_seconds, Deliver deliver);
  void commit_all();
  void commit_until_done(const StoreBatch& batch);
  void keep_last_state();
  void wait_for(int64_t ticket);
  /// Until the ticket is done, or nothing more is to be waited for.
  void await(std::unique_lock<std::mutex>& lock, int64_t ticket);

  Store& store_;
  SteadyClock clock_;
  Deliver deliver_;
  std::mutex store_mutex_;
  Snapshots snapshots_;

  mutable std::mutex mutex_;
  std::condition_variable pending_;
  std::condition_variable done_;
  std::unique_ptr<Core> core_;
  std::vector<Entry> entries_;  ///< applied, not durable yet
  StoreBatch batch_;            ///< what becomes durable with them
  int64_t last_ticket_ = 0;
  int64_t done_ticket_ = 0;
  std::string fault_;
  std::string halted_;  ///< by which event and why
  bool is_stopping_ = false;
  bool is_patient_ = true;
  std::thread committer_;
};

}  // namespace wattle::scheduler
