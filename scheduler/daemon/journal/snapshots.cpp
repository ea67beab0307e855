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
                     int64_t newest_number)
    : store_(store), store_mutex_(store_mutex), limits_(limits), newest_number_(newest_number) {
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
  return newest_number_ >= number;
}

bool Snapshots::is_due(int64_t number) const {
  const std::lock_guard lock(mutex_);
  return !wanted_ && !is_keeping_ && number >= newest_number_ + limits_.snapshot_events;
}

void Snapshots::keep_soon(std::unique_ptr<const State> state, const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = {std::move(state), reason};
  }
  changed_.notify_all();
}

void Snapshots::keep(const State& state, const std::string& reason) {
  const SnapshotHead head{0, state.events, state.now_seconds, core_fingerprint(), reason};
  const std::string text = to_text(state);
  {
    const std::lock_guard lock(store_mutex_);
    store_.journal().keep(head, text);
  }
  {
    const std::lock_guard lock(mutex_);
    newest_number_ = state.events;
  }
  forget(state.now_seconds);
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
    try {
      keep(*wanted.state, wanted.reason);
    } catch (const Error& e) {
      // The records are there: the next one that is due will do.
      spdlog::error("the state can't be kept: {}", e.what());
    }
    lock.lock();
    is_keeping_ = false;
  }
}

}  // namespace wattle::scheduler
