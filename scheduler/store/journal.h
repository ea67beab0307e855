#pragma once

#include <cstdint>
#include <functional>
#include <string>
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

/// A state's text in pieces, with the checksum of the whole: made before the store is taken for it.
struct StatePieces {
  explicit StatePieces(std::vector<std::string> text);
  std::vector<std::string> pieces;
  int64_t bytes = 0;
  std::string sha256;
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

  /// Keeps a state with its checksum, a row for each piece: whole when this returns, or not at all.
  /// A piece may have a gigabyte (10^9 bytes), and should have some megabytes. Gives its id.
  int64_t keep(const SnapshotHead& head, const StatePieces& state);
  /// Oldest first.
  std::vector<SnapshotHead> snapshots();
  /// Throws Error(kFormat) if it is not what was kept.
  std::string state_of(const SnapshotHead& head);

  /// Drops the snapshots before one, and at most so many of the records that only they need. Says
  /// whether there are more to drop.
  bool forget_before(const SnapshotHead& head, int64_t most_records);

 private:
  std::string pieces_of(const SnapshotHead& head);

  Database& database_;
};

}  // namespace wattle::scheduler
