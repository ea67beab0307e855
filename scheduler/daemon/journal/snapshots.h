#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "scheduler/core/engine/state.h"
#include "scheduler/store/store.h"

namespace wattle::scheduler {

/// How much of the journal there is.
struct JournalLimits {
  int64_t snapshot_events = 50000;  ///< the state is kept after so many
  double keep_seconds = 7 * 86400;  ///< records and snapshots older than this are dropped
  size_t piece_bytes = 1 << 20;     ///< of a state's text that make a row, and are written at once
};

/// How it stands with the states that are kept.
struct SnapshotStatus {
  SnapshotHead newest;
  int64_t failures = 0;  ///< states that could not be kept, of this process
};

/// Keeps states of the core, on a thread of its own and in pieces, between which others have the
/// store, and drops what is older than the limits: all records before the oldest snapshot that is
/// kept. The newest two snapshots always stay, and the
/// records since the older of them. The audit log and the accounts of joules are other tables, and
/// never shortened.
class Snapshots {
 public:
  /// `store_mutex` is held while the store is used.
  Snapshots(Store& store, std::mutex& store_mutex, const JournalLimits& limits,
            const SnapshotHead& newest);
  ~Snapshots();
  Snapshots(const Snapshots&) = delete;
  Snapshots& operator=(const Snapshots&) = delete;

  /// Ends the thread, after what was asked for.
  void finish();
  /// Whether the newest one has seen this record.
  bool has(int64_t number) const;
  SnapshotStatus status() const;
  /// Whether enough records have come since the newest snapshot, or since one could not be kept,
  /// and none is being kept.
  bool is_due(int64_t number) const;
  /// Keeps a copy of a state whose records are durable. What fails is logged and counted.
  void keep_soon(std::unique_ptr<const State> state, const std::string& reason);
  /// The same, at once and by the caller's thread.
  void keep_now(const State& state, const std::string& reason);
  /// The same; throws what fails, as the store does.
  void keep(const State& state, const std::string& reason);

 private:
  struct Wanted {
    std::unique_ptr<const State> state;
    std::string reason;
  };
  void run();
  /// With the store held.
  template <class Use>
  auto in_journal(Use&& use) {
    const std::lock_guard lock(store_mutex_);
    return use(store_.journal());
  }
  void write(const State& state, SnapshotHead& head);
  void note_failure(int64_t number, const std::string& why);
  void forget(double now_seconds);
  void drop_unneeded();

  Store& store_;
  std::mutex& store_mutex_;
  JournalLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Wanted> wanted_;
  bool is_keeping_ = false;
  SnapshotStatus status_;
  int64_t tried_number_;  ///< of the newest state that was or could not be kept
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace wattle::scheduler
