#include "scheduler/daemon/journal/snapshots.h"

#include <spdlog/spdlog.h>

#include "common/error.h"
#include "scheduler/core/journal/state_text.h"

namespace wattle::scheduler {
namespace {

/// Records are dropped in pieces: others need the store meanwhile.
constexpr int64_t kDroppedAtOnce = 2000;

}  // namespace

Snapshots::Snapshots(Store& store, std::mutex& store_mutex, const JournalLimits& limits,
                     const SnapshotHead& newest)
    : store_(store),
      store_mutex_(store_mutex),
      limits_(limits),
      status_{newest},
      tried_number_(newest.number) {
  thread_ = std::thread([this] { run(); });
}

Snapshots::~Snapshots() { finish(); }

void Snapshots::finish() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool Snapshots::has(int64_t number) const {
  const std::lock_guard lock(mutex_);
  return status_.newest.number >= number;
}

SnapshotStatus Snapshots::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

bool Snapshots::is_due(int64_t number) const {
  const std::lock_guard lock(mutex_);
  return !wanted_ && !is_keeping_ && number >= tried_number_ + limits_.snapshot_events;
}

void Snapshots::keep_soon(std::unique_ptr<const State> state, const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = {std::move(state), reason};
  }
  changed_.notify_all();
}

void Snapshots::keep(const State& state, const std::string& reason) {
  const StatePieces pieces(to_pieces(state, limits_.piece_bytes));
  SnapshotHead head{0, state.events, state.now_seconds, core_fingerprint(), reason, pieces.bytes};
  {
    const std::lock_guard lock(store_mutex_);
    head.id = store_.journal().keep(head, pieces);
  }
  {
    const std::lock_guard lock(mutex_);
    status_.newest = head;
    tried_number_ = head.number;
  }
  try {
    forget(state.now_seconds);
  } catch (const Error& e) {
    spdlog::error("what is old in the journal can't be dropped: {}", e.what());
  }
}

void Snapshots::keep_now(const State& state, const std::string& reason) {
  try {
    keep(state, reason);
  } catch (const std::exception& e) {
    note_failure(state.events, e.what());
  }
}

/// The records are there: the next one that is due will do.
void Snapshots::note_failure(int64_t number, const std::string& why) {
  spdlog::error(
      "the state after record {} can't be kept: {}; it is tried again after {} more, and a start "
      "replays what came since record {}",
      number, why, limits_.snapshot_events, status().newest.number);
  const std::lock_guard lock(mutex_);
  ++status_.failures;
  tried_number_ = number;
}

void Snapshots::forget(double now_seconds) {
  std::unique_lock lock(store_mutex_);
  const std::vector<SnapshotHead> heads = store_.journal().snapshots();
  size_t oldest = 0;
  while (oldest + 2 < heads.size() &&
         heads[oldest + 1].time_seconds < now_seconds - limits_.keep_seconds) {
    ++oldest;
  }
  while (store_.journal().forget_before(heads[oldest], kDroppedAtOnce)) {
    lock.unlock();
    std::this_thread::yield();
    lock.lock();
  }
}

void Snapshots::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_stopping_ || wanted_; });
    if (!wanted_) return;
    const Wanted wanted = std::move(*wanted_);
    wanted_.reset();
    is_keeping_ = true;
    lock.unlock();
    keep_now(*wanted.state, wanted.reason);
    lock.lock();
    is_keeping_ = false;
  }
}

}  // namespace wattle::scheduler
