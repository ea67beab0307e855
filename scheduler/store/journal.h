#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/store/database.h"

namespace wattle::scheduler {

/// An event of the core and what it decided, as core/journal/journal.h writes them: the decisions a
/// line each, ending with a line's end.
struct JournalRecord {
  int64_t number = 0;  ///< counts from 1, without gaps
  std::string event;
  std::string decisions;
};

/// When a state of the core was kept, by whom, and why.
struct SnapshotHead {
  int64_t id = 0;      ///< counts from 1; a newer one has a higher one
  int64_t number = 0;  ///< of the newest record that it has seen
  double time_seconds = 0;
  std::string program;  ///< its core's fingerprint
  std::string reason;
  int64_t bytes = 0;  ///< of its state; 0 = an older program has kept it
};

/// The daemon's journal in its database: records, and states that were kept between them. What is
/// needed to know a state is a snapshot and the records after it.
///
/// As Database: one thread at a time, Error(kIo) for what SQLite says.
class Journal {
 public:
  explicit Journal(Database& database) : database_(database) {}

  /// In a transaction of the caller's.
  void append(const std::vector<JournalRecord>& records);
  /// Every record after `number`, in order.
  void read(int64_t number, const std::function<void(const JournalRecord&)>& take);

  /// The newest record's number, or the newest snapshot's if there is none after it.
  int64_t newest();

  /// A state is kept piece by piece, each durable by itself, so that others have the store in
  /// between: begin(), add() for each piece of its text, and finish(), which alone makes a snapshot
  /// of them. What was begun and never finished is there for drop_some(). A piece may have a
  /// gigabyte (10^9 bytes), and should have a megabyte or so. begin() gives the snapshot's id.
  int64_t begin(const SnapshotHead& head);
  void add(int64_t snapshot, int64_t piece, std::string_view text);
  void finish(int64_t snapshot, int64_t bytes, const std::string& sha256);
  /// Oldest first; finished ones.
  std::vector<SnapshotHead> snapshots();
  /// Throws Error(kFormat) if it is not what was kept.
  std::string state_of(const SnapshotHead& head);

  /// The snapshots before one are none any more, and their pieces are there for drop_some().
  void forget_before(const SnapshotHead& head);
  /// Drops of what no snapshot needs any more a piece and at most so many records. Says whether
  /// there is more of it. Not while a state is being kept.
  bool drop_some(int64_t most_records);

 private:
  std::string pieces_of(const SnapshotHead& head);

  Database& database_;
};

}  // namespace wattle::scheduler
