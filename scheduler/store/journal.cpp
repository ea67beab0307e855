#include "scheduler/store/journal.h"

#include <fmt/format.h>

#include "common/error.h"
#include "scheduler/digest/sha256.h"

namespace wattle::scheduler {

StatePieces::StatePieces(std::vector<std::string> text) : pieces(std::move(text)) {
  Sha256 sum;
  for (const std::string& piece : pieces) {
    sum.add(piece);
    bytes += static_cast<int64_t>(piece.size());
  }
  sha256 = sum.digits();
}

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
                 "ifnull((SELECT max(number) FROM snapshot), 0))");
  return read.step() ? read.integer(0) : 0;
}

int64_t Journal::keep(const SnapshotHead& head, const StatePieces& state) {
  Transaction transaction(database_);
  Statement insert(database_,
                   "INSERT INTO snapshot(number, time_seconds, program, reason, sha256, state, "
                   "bytes) VALUES(?, ?, ?, ?, ?, '', ?) RETURNING id");
  insert.bind(1, head.number).bind(2, head.time_seconds).bind(3, head.program);
  insert.bind(4, head.reason).bind(5, state.sha256).bind(6, state.bytes);
  if (!insert.step()) database_.fail("keeping a snapshot");
  const int64_t id = insert.integer(0);
  while (insert.step()) {
  }
  Statement insert_piece(database_, "INSERT INTO snapshot_piece VALUES(?, ?, ?)");
  int64_t number = 0;
  for (const std::string& piece : state.pieces) {
    insert_piece.bind(1, id).bind(2, ++number).bind_bytes(3, piece).run();
  }
  transaction.commit();
  return id;
}

std::vector<SnapshotHead> Journal::snapshots() {
  Statement read(
      database_,
      "SELECT id, number, time_seconds, program, reason, bytes FROM snapshot ORDER BY id");
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

bool Journal::forget_before(const SnapshotHead& head, int64_t most_records) {
  Transaction transaction(database_);
  Statement(database_, "DELETE FROM snapshot WHERE id < ?").bind(1, head.id).run();
  Statement(database_,
            "DELETE FROM journal WHERE number IN (SELECT number FROM journal WHERE number <= ? "
            "ORDER BY number LIMIT ?)")
      .bind(1, head.number)
      .bind(2, most_records)
      .run();
  Statement left(database_, "SELECT EXISTS(SELECT 1 FROM journal WHERE number <= ?)");
  const bool has_more = left.bind(1, head.number).step() && left.integer(0) != 0;
  while (left.step()) {
  }
  transaction.commit();
  return has_more;
}

}  // namespace wattle::scheduler
