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
                 "ifnull((SELECT max(number) FROM snapshot), 0))");
  return read.step() ? read.integer(0) : 0;
}

int64_t Journal::keep(const SnapshotHead& head, std::string_view state) {
  Transaction transaction(database_);
  Statement insert(database_,
                   "INSERT INTO snapshot(number, time_seconds, program, reason, sha256, state) "
                   "VALUES(?, ?, ?, ?, ?, ?) RETURNING id");
  insert.bind(1, head.number).bind(2, head.time_seconds).bind(3, head.program);
  insert.bind(4, head.reason).bind(5, sha256_of(state)).bind(6, state);
  if (!insert.step()) database_.fail("keeping a snapshot");
  const int64_t id = insert.integer(0);
  while (insert.step()) {
  }
  transaction.commit();
  return id;
}

std::vector<SnapshotHead> Journal::snapshots() {
  Statement read(database_,
                 "SELECT id, number, time_seconds, program, reason FROM snapshot ORDER BY id");
  std::vector<SnapshotHead> heads;
  while (read.step()) {
    heads.push_back({read.integer(0), read.integer(1), read.number(2), read.text(3), read.text(4)});
  }
  return heads;
}

std::string Journal::state_of(const SnapshotHead& head) {
  Statement read(database_, "SELECT state, sha256 FROM snapshot WHERE id = ?");
  std::string state;
  const bool is_there = read.bind(1, head.id).step();
  if (is_there) state = read.text(0);
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
