#include "scheduler/store/journal.h"

#include <fmt/format.h>

#include "common/error.h"
#include "scheduler/digest/sha256.h"

namespace wattle::scheduler {

void Journal::append(const std::vector<JournalRecord>& records) {
  Statement insert(database_, "INSERT INTO journal(number, event, decisions) VALUES(?, ?, ?)");
  for (const JournalRecord& record : records) {
    insert.bind(1, record.number).bind(2, record.event).bind(3, record.decisions).run();
  }
}

void Journal::read(int64_t number, const std::function<void(const JournalRecord&)>& take) {
  Statement read(database_,
                 "SELECT number, event, decisions FROM journal WHERE number > ? ORDER BY number");
  read.bind(1, number);
  while (read.step()) take({read.integer(0), read.text(1), read.text(2)});
}

int64_t Journal::newest() {
  Statement read(database_,
                 "SELECT max(ifnull((SELECT max(number) FROM journal), 0), "
                 "ifnull((SELECT max(number) FROM snapshot WHERE sha256 <> ''), 0))");
  return read.step() ? read.integer(0) : 0;
}

/// One without a checksum is not finished, or not needed any more.
int64_t Journal::begin(const SnapshotHead& head) {
  Statement insert(database_,
                   "INSERT INTO snapshot(number, time_seconds, program, reason, sha256, state) "
                   "VALUES(?, ?, ?, ?, '', '') RETURNING id");
  insert.bind(1, head.number).bind(2, head.time_seconds).bind(3, head.program);
  insert.bind(4, head.reason);
  if (!insert.step()) database_.fail("beginning a snapshot");
  const int64_t id = insert.integer(0);
  while (insert.step()) {
  }
  return id;
}

void Journal::add(int64_t snapshot, int64_t piece, std::string_view text) {
  Statement insert(database_, "INSERT INTO snapshot_piece VALUES(?, ?, ?)");
  insert.bind(1, snapshot).bind(2, piece).bind_bytes(3, text).run();
}

void Journal::finish(int64_t snapshot, int64_t bytes, const std::string& sha256) {
  Statement finish(database_, "UPDATE snapshot SET bytes = ?, sha256 = ? WHERE id = ?");
  finish.bind(1, bytes).bind(2, sha256).bind(3, snapshot).run();
}

std::vector<SnapshotHead> Journal::snapshots() {
  Statement read(
      database_,
      "SELECT id, number, time_seconds, program, reason, bytes FROM snapshot WHERE sha256 <> '' "
      "ORDER BY id");
  std::vector<SnapshotHead> heads;
  while (read.step()) {
    heads.push_back({read.integer(0), read.integer(1), read.number(2), read.text(3), read.text(4),
                     read.integer(5)});
  }
  return heads;
}

std::string Journal::pieces_of(const SnapshotHead& head) {
  Statement size(database_, "SELECT sum(length(text)) FROM snapshot_piece WHERE snapshot = ?");
  std::string text;
  if (size.bind(1, head.id).step()) text.reserve(static_cast<size_t>(size.integer(0)));
  Statement read(database_, "SELECT text FROM snapshot_piece WHERE snapshot = ? ORDER BY piece");
  read.bind(1, head.id);
  while (read.step()) text += read.text(0);
  return text;
}

std::string Journal::state_of(const SnapshotHead& head) {
  Statement read(database_, "SELECT state, sha256 FROM snapshot WHERE id = ?");
  std::string state;
  const bool is_there = read.bind(1, head.id).step();
  if (is_there) state = read.text(0);
  if (state.empty()) state = pieces_of(head);
  if (!is_there || sha256_of(state) != read.text(1)) {
    throw Error(ErrorCode::kFormat,
                fmt::format("the snapshot after record {} is damaged: its checksum is another",
                            head.number));
  }
  return state;
}

void Journal::forget_before(const SnapshotHead& head) {
  Statement forget(database_, "UPDATE snapshot SET sha256 = '', state = '' WHERE id < ?");
  forget.bind(1, head.id).run();
}

bool Journal::drop_some(int64_t most_records) {
  // Of the finished ones; without any, all records are needed.
  constexpr const char* kOldest = "(SELECT min(number) FROM snapshot WHERE sha256 <> '')";
  Transaction transaction(database_);
  database_.execute(
      "DELETE FROM snapshot_piece WHERE (snapshot, piece) IN (SELECT p.snapshot, p.piece FROM "
      "snapshot s CROSS JOIN snapshot_piece p ON p.snapshot = s.id WHERE s.sha256 = '' LIMIT 1); "
      "DELETE FROM snapshot WHERE sha256 = '' AND NOT EXISTS(SELECT 1 FROM snapshot_piece p WHERE "
      "p.snapshot = snapshot.id)");
  Statement(database_,
            fmt::format("DELETE FROM journal WHERE number IN (SELECT number FROM journal "
                        "WHERE number <= {} ORDER BY number LIMIT ?)",
                        kOldest))
      .bind(1, most_records)
      .run();
  Statement left(database_,
                 fmt::format("SELECT EXISTS(SELECT 1 FROM snapshot WHERE sha256 = '') OR "
                             "EXISTS(SELECT 1 FROM journal WHERE number <= {})",
                             kOldest));
  const bool has_more = left.step() && left.integer(0) != 0;
  while (left.step()) {
  }
  transaction.commit();
  return has_more;
}

}  // namespace wattle::scheduler
