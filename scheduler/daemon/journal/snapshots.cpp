#include "scheduler/daemon/journal/snapshots.h"

#include <spdlog/spdlog.h>

#include <chrono>

#include "common/error.h"
#include "scheduler/core/journal/state_text.h"
#include "scheduler/digest/sha256.h"

namespace wattle::scheduler {
namespace {

/// Records: others need the store meanwhile.
constexpr int64_t kDroppedAtOnce = 2000;

/// A mutex goes to whoever asks first after it was freed: this lets those ask that wait for it.
void give_way() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }

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

void Snapshots::write(const State& state, SnapshotHead& head) {
  head.id = in_journal([&](Journal& journal) { return journal.begin(head); });
  Sha256 sum;
  int64_t pieces = 0;
  write_pieces(state, limits_.piece_bytes, [&](std::string_view piece) {
    in_journal([&](Journal& journal) { journal.add(head.id, ++pieces, piece); });
    sum.add(piece);
    head.bytes += static_cast<int64_t>(piece.size());
    give_way();
  });
  in_journal([&](Journal& journal) { journal.finish(head.id, head.bytes, sum.digits()); });
}

void Snapshots::keep(const State& state, const std::string& reason) {
  drop_unneeded();  // what a kill or a full disk has left of one
  SnapshotHead head{0, state.events, state.now_seconds, core_fingerprint(), reason};
  write(state, head);
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
  in_journal([&](Journal& journal) {
    const std::vector<SnapshotHead> heads = journal.snapshots();
    size_t oldest = 0;
    while (oldest + 2 < heads.size() &&
           heads[oldest + 1].time_seconds < now_seconds - limits_.keep_seconds) {
      ++oldest;
    }
    journal.forget_before(heads[oldest]);
  });
  drop_unneeded();
}

void Snapshots::drop_unneeded() {
  while (in_journal([](Journal& journal) { return journal.drop_some(kDroppedAtOnce); })) {
    give_way();
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
