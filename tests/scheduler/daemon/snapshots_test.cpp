#include <chrono>
#include <thread>

#include "tests/scheduler/daemon/journal_story.h"

namespace wattle::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SnapshotsTest : public JournalStory {
 protected:
  int64_t pieces_of(int64_t snapshot) {
    Database database(path());
    Statement count(database, "SELECT count(*) FROM snapshot_piece WHERE snapshot = ?");
    return count.bind(1, snapshot).step() ? count.integer(0) : -1;
  }
  static void wait_for_failures(JournalledCore& core, int64_t failures) {
    for (int i = 0; i < 1000 && core.snapshot_status().failures < failures; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(core.snapshot_status().failures, failures);
  }
};

TEST_F(SnapshotsTest, AStateInSeveralPiecesIsTheSame) {
  limits_.piece_bytes = 100;
  const std::string state = live([this](JournalledCore& core) { submit(core, 0, 3); });
  EXPECT_GT(pieces_of(2), 20);
  EXPECT_EQ(live(), state);
  EXPECT_EQ(fault(), "");
  edit("DELETE FROM snapshot_piece WHERE snapshot = 2 AND piece = 7");
  EXPECT_EQ(live(), state) << "from the one before";
}

TEST_F(SnapshotsTest, EventsBecomeDurableWhileAStateIsKept) {
  limits_.snapshot_events = 200;
  limits_.piece_bytes = 1000;  // two hundred of them, each with a pause
  live([this](JournalledCore& core) {
    submit(core, 0, 200);
    while (pieces_of(2) == 0) std::this_thread::yield();
    submit(core, 200, 20);
    EXPECT_EQ(core.snapshot_status().newest.number, 0) << "it was kept before they were durable";
  });
  EXPECT_EQ(snapshots()[1].number, 200);
  EXPECT_EQ(records().back(), 220);
}

TEST_F(SnapshotsTest, WhatAKillHasLeftOfOneIsDropped) {
  live([this](JournalledCore& core) { submit(core, 0, 3); });
  {
    Store store(path());
    store.journal().add(store.journal().begin({0, 3, now_, core_fingerprint(), "events"}), 1, "x");
  }
  const std::string state = live([this](JournalledCore& core) {
    EXPECT_EQ(pieces_of(3), 1);
    submit(core, 3, 1);
  });
  EXPECT_EQ(pieces_of(3), 0);
  EXPECT_THAT(reasons(), ElementsAre("beginning", "end", "end"));
  EXPECT_EQ(live(), state);
}

/// From then on no state can be kept.
constexpr const char* kNoPieces =
    "CREATE TRIGGER full BEFORE INSERT ON snapshot_piece BEGIN SELECT RAISE(ABORT, 'too big'); END";

TEST_F(SnapshotsTest, AStartThatCanNotKeepTheStateGoesOnAndTriesAgainWhenOneIsDue) {
  limits_.snapshot_events = 10;
  live([this](JournalledCore& core) { submit(core, 0, 5); });
  edit("UPDATE snapshot SET program = 'older'");
  edit(kNoPieces);
  const std::string state = live([this](JournalledCore& core) {
    wait_for_failures(core, 1);  // of another version
    EXPECT_EQ(core.snapshot_status().newest.number, 5);
    submit(core, 5, 9);
    core.settle();
    EXPECT_EQ(core.snapshot_status().failures, 1) << "none is due";
    submit(core, 14, 1);
    wait_for_failures(core, 2);
    submit(core, 15, 9);
    core.settle();
    EXPECT_EQ(core.snapshot_status().failures, 2) << "not at every commit";
  });
  EXPECT_THAT(reasons(), ElementsAre("beginning", "end"));
  EXPECT_EQ(live(), state) << "by the records";
  edit("DROP TRIGGER full");
  EXPECT_EQ(live(), state);
  EXPECT_THAT(reasons(), ElementsAre("beginning", "end", "version"));
}

TEST_F(SnapshotsTest, AfterALongReplayTheStateNeedNotBeKept) {
  live([this](JournalledCore& core) {
    for (int i = 0; i < 1000; ++i) core.post(job(i));
    core.settle();
  });
  forget_the_end();
  edit(kNoPieces);
  live([this](JournalledCore& core) { wait_for_failures(core, 1); });
  EXPECT_THAT(reasons(), ElementsAre("beginning"));
}

TEST_F(SnapshotsTest, AJournalThatCanNotBeBegunEndsTheStart) {
  Store{path()};
  edit(kNoPieces);
  EXPECT_THAT(start_fault(), HasSubstr("too big"));
}

TEST_F(SnapshotsTest, SaysHowOldTheNewestStateIsAndHowLarge) {
  const std::string state = live([this](JournalledCore& core) { submit(core, 0, 3); });
  live([&](JournalledCore& core) {
    const SnapshotStatus status = core.snapshot_status();
    EXPECT_EQ(status.newest.number, 3);
    EXPECT_EQ(status.newest.bytes, static_cast<int64_t>(state.size()));
    EXPECT_NEAR(status.newest.time_seconds, now_, 1);
    EXPECT_EQ(status.failures, 0);
  });
}

}  // namespace
}  // namespace wattle::scheduler
