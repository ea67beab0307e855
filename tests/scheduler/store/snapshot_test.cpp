#include <gmock/gmock.h>

#include "common/error.h"
#include "scheduler/store/store.h"
#include "tests/scheduler/store/kept_state.h"
#include "tests/support/scratch_folder.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// States that are kept in a database, which is opened anew for each of them.
class SnapshotTest : public testing::Test {
 protected:
  std::string path() const { return folder_.path("wattle.db"); }
  void edit(const std::string& sql) { Database(path()).execute(sql); }

  int64_t keep(int64_t number, const std::vector<std::string>& pieces) {
    Store store(path());
    return keep_state(store.journal(), {0, number, 1.5, "p", "r"}, pieces);
  }
  std::vector<SnapshotHead> heads() { return Store(path()).journal().snapshots(); }
  std::string state(const SnapshotHead& head) { return Store(path()).journal().state_of(head); }
  std::string fault_of(const SnapshotHead& head) {
    try {
      state(head);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  int64_t count(const std::string& table) {
    Database database(path());
    Statement count(database, "SELECT count(*) FROM " + table);
    return count.step() ? count.integer(0) : -1;
  }
  int64_t pieces() { return count("snapshot_piece"); }
  /// Drops what is not needed, so many records at once. Gives how often it took.
  int drop(int64_t most_records) {
    Store store(path());
    int times = 1;
    while (store.journal().drop_some(most_records)) ++times;
    return times;
  }
  void append(int64_t first, int64_t last) {
    StoreBatch batch;
    for (int64_t i = first; i <= last; ++i) batch.records.push_back({i, "{}", ""});
    Store(path()).commit(batch);
  }
  /// As the version before there were pieces left it.
  void make_older(const std::string& state) {
    edit(
        "DELETE FROM snapshot; DROP TABLE snapshot_piece; DROP TABLE upload; ALTER TABLE snapshot "
        "DROP COLUMN bytes; "
        "PRAGMA user_version = 8; INSERT INTO snapshot(number, time_seconds, program, reason, "
        "sha256, state) VALUES(3, 2.5, 'older', 'end', '" +
        sha256_of(state) + "', '" + state + "')");
  }

  ScratchFolder folder_;
};

TEST_F(SnapshotTest, SeveralPiecesAreReadAsOne) {
  const std::string binary("\0\xc3", 2);  // a piece may end within a character
  keep(7, {"one ", binary, "\xa9 three"});
  ASSERT_EQ(heads().size(), 1u);
  EXPECT_EQ(pieces(), 3);
  EXPECT_EQ(heads()[0].bytes, 13);
  EXPECT_EQ(heads()[0].number, 7);
  EXPECT_EQ(state(heads()[0]), "one " + binary + "\xa9 three");
}

TEST_F(SnapshotTest, ManyPiecesComeInTheirOrder) {
  std::vector<std::string> text;
  std::string whole;
  for (int i = 0; i < 300; ++i) whole += text.emplace_back(std::to_string(i) + " ");
  keep(1, text);
  EXPECT_EQ(state(heads()[0]), whole);
}

TEST_F(SnapshotTest, APieceThatIsDamagedOrMissingIsFound) {
  keep(1, {"one", "two"});
  keep(2, {"one", "two"});
  keep(3, {"one", "two"});
  edit("UPDATE snapshot_piece SET text = 'twa' WHERE snapshot = 1 AND piece = 2");
  edit("DELETE FROM snapshot_piece WHERE snapshot = 2 AND piece = 1");
  EXPECT_THAT(fault_of(heads()[0]), HasSubstr("the snapshot after record 1 is damaged"));
  EXPECT_THAT(fault_of(heads()[1]), HasSubstr("the snapshot after record 2 is damaged"));
  EXPECT_EQ(fault_of(heads()[2]), "");
}

TEST_F(SnapshotTest, OneThatIsNotFinishedIsNoneAndItsPiecesAreDropped) {
  append(1, 9);
  keep(1, {"one"});
  {
    Store store(path());
    const int64_t begun = store.journal().begin({0, 7, 2.5, "p", "r"});
    for (int piece = 1; piece <= 3; ++piece) store.journal().add(begun, piece, "a");
  }
  ASSERT_EQ(heads().size(), 1u);
  EXPECT_EQ(state(heads()[0]), "one");
  EXPECT_EQ(pieces(), 4);
  EXPECT_EQ(drop(100), 3) << "a piece at once";
  EXPECT_EQ(pieces(), 1);
  EXPECT_EQ(count("snapshot"), 1);
  EXPECT_EQ(count("journal"), 8) << "those after the finished one";
  keep(7, {"two"});
  EXPECT_EQ(state(heads()[1]), "two");
}

TEST_F(SnapshotTest, WithoutAFinishedOneAllRecordsStay) {
  append(1, 3);
  Store(path()).journal().begin({0, 3, 2.5, "p", "r"});
  EXPECT_EQ(Store(path()).journal().newest(), 3);
  drop(100);
  EXPECT_EQ(count("snapshot"), 0);
  EXPECT_EQ(count("journal"), 3);
}

TEST_F(SnapshotTest, GoesWithItsPiecesAndItsRecordsSomeAtOnce) {
  append(1, 9);
  keep(5, {"one", "two"});
  const int64_t newest = keep(8, {"three"});
  {
    Store store(path());
    store.journal().forget_before(store.journal().snapshots().back());
  }
  EXPECT_EQ(heads().size(), 1u);
  EXPECT_EQ(heads()[0].id, newest);
  EXPECT_EQ(pieces(), 3);
  EXPECT_EQ(drop(3), 3) << "eight records";
  EXPECT_EQ(pieces(), 1);
  EXPECT_EQ(count("snapshot"), 1);
  EXPECT_EQ(count("journal"), 1);
}

TEST_F(SnapshotTest, OneOfAnOlderProgramIsRead) {
  keep(1, {"x"});
  make_older("all of it");
  ASSERT_EQ(heads().size(), 1u);
  EXPECT_EQ(state(heads()[0]), "all of it");
  EXPECT_EQ(heads()[0].program, "older");
  keep(9, {"and ", "a newer one"});
  EXPECT_EQ(state(heads()[0]), "all of it");
  EXPECT_EQ(state(heads()[1]), "and a newer one");
}

}  // namespace
}  // namespace wattle::scheduler
