#include "scheduler/store/store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "common/error.h"
#include "scheduler/store/energy_reports.h"
#include "tests/support/scratch_folder.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

class StoreTest : public testing::Test {
 protected:
  std::string path() const { return folder_.path(name_); }

  StoreBatch event(const std::string& text) {
    StoreBatch batch;
    batch.records.push_back({++last_, text, ""});
    return batch;
  }

  std::vector<std::string> events() {
    std::vector<std::string> found;
    Store(path()).journal().read(0, [&](const JournalRecord& r) { found.push_back(r.event); });
    return found;
  }

  static EnergyTotal drawn(double joules, const std::string& day) {
    return {7, 3, "team-a", "node-1", "estimated:model", joules, 2 * joules, day};
  }

  void draw(int64_t job, const std::string& tenant, const std::string& source, double joules,
            const std::string& day, double tokens_before = 0) {
    StoreBatch batch;
    batch.energy.push_back(
        {job, job, tenant, "node-1", source, joules, tokens_before + 2 * joules, day});
    Store(path()).commit(batch);
  }
  std::vector<EnergySum> read_energy(const EnergyQuestion& question) {
    const Store store(path());
    std::vector<EnergySum> sums;
    EnergyReports(path()).read(question, [&](const EnergySum& sum) { sums.push_back(sum); });
    return sums;
  }
  std::string told(const EnergyQuestion& question) {
    std::string text;
    for (const EnergySum& sum : read_energy(question)) {
      text += fmt::format("{}: {} jobs {} {} J {} tokens\n", sum.key, sum.jobs, sum.source,
                          sum.joules, sum.tokens);
    }
    return text;
  }

  ScratchFolder folder_;
  std::string name_ = "wattle.db";
  int64_t last_ = 0;
};

TEST_F(StoreTest, KeepsTheJournalInOrderOverRestarts) {
  Store(path()).commit(event("one"));
  Store(path()).commit(event("two"));
  EXPECT_THAT(events(), testing::ElementsAre("one", "two"));
}

TEST_F(StoreTest, ABatchIsWholeOrNotThere) {
  Store store(path());
  StoreBatch batch = event("one");
  batch.submissions.push_back({"team-a/1", "ada", "yaml", {"a=1"}, {{"x", "00", 4}}});
  store.commit(batch);
  batch.records[0].event = "two";  // the same request once more breaks the batch
  EXPECT_THROW(store.commit(batch), Error);
  EXPECT_THAT(events(), testing::ElementsAre("one"));
  const auto kept = store.submission("team-a/1");
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->overrides, std::vector<std::string>{"a=1"});
  EXPECT_EQ(kept->inputs.at(0).size_bytes, 4);
  EXPECT_FALSE(store.submission("team-b/1"));
}

TEST_F(StoreTest, ChargesWhatIsNewInATotalOnce) {
  Store store(path());
  for (const auto& total : {drawn(100, "2026-11-24"), drawn(100, "2026-11-24"),
                            drawn(160, "2026-11-25"), drawn(150, "2026-11-25")}) {
    StoreBatch batch;
    batch.energy.push_back(total);
    store.commit(batch);
  }
  const auto days = read_energy({.by = EnergyQuestion::By::kDay});
  ASSERT_EQ(days.size(), 2u);
  EXPECT_EQ(days[0].joules, 100);
  EXPECT_EQ(days[1].joules, 60);
  EXPECT_EQ(days[1].tokens, 120);
}

/// An agent that was away books the rest by the model: the tokens then come with that.
TEST_F(StoreTest, TokensComeWithAnySourceAndCountOnce) {
  Store store(path());
  for (const auto& [source, tokens] : {std::pair("measured:nvml", 1000.0),
                                       {"estimated:model", 1100.0},
                                       {"measured:nvml", 0.0},
                                       {"estimated:model", 1200.0}}) {
    StoreBatch batch;
    batch.energy.push_back({7, 3, "team-a", "node-1", source, 5, tokens, "2026-11-24"});
    store.commit(batch);
  }
  EXPECT_EQ(told({}),
            "team-a: 1 jobs estimated:model 5 J 200 tokens\n"
            "team-a: 1 jobs measured:nvml 5 J 1000 tokens\n");
}

TEST_F(StoreTest, AddsJoulesUpByTenantJobOrDay) {
  draw(9, "team-a", "measured:nvml", 5, "2026-11-23");
  draw(9, "team-a", "estimated:model", 1, "2026-11-24", /*tokens_before=*/10);
  draw(10, "team-a", "measured:nvml", 3, "2026-11-24");
  draw(11, "team-b", "measured:nvml", 100, "2026-11-24");
  using enum EnergyQuestion::By;
  EXPECT_EQ(told({.by = kTenant}),
            "team-a: 2 jobs estimated:model 1 J 2 tokens\n"
            "team-a: 2 jobs measured:nvml 8 J 16 tokens\n"
            "team-b: 1 jobs measured:nvml 100 J 200 tokens\n");
  EXPECT_EQ(told({.by = kJob, .tenant = "team-a"}),
            "9: 1 jobs estimated:model 1 J 2 tokens\n"
            "9: 1 jobs measured:nvml 5 J 10 tokens\n"
            "10: 1 jobs measured:nvml 3 J 6 tokens\n");
  EXPECT_EQ(told({.by = kDay, .from_day = "2026-11-24"}),
            "2026-11-24: 3 jobs estimated:model 1 J 2 tokens\n"
            "2026-11-24: 3 jobs measured:nvml 103 J 206 tokens\n");
  EXPECT_EQ(told({.by = kDay, .tenant = "team-a", .until_day = "2026-11-23"}),
            "2026-11-23: 1 jobs measured:nvml 5 J 10 tokens\n");
  EXPECT_EQ(told({.by = kJob, .tenant = ""}), "") << "a tenant, not all";
}

/// A year of everybody's jobs is not read to answer one tenant.
TEST_F(StoreTest, ATenantsReportReadsItsOwnRows) {
  const Store store(path());
  Database database(path(), Database::Access::kRead);
  Statement plan(
      database,
      "EXPLAIN QUERY PLAN SELECT day, source, SUM(joules) FROM energy WHERE tenant = 'a' "
      "AND day >= '' GROUP BY 1, 2");
  ASSERT_TRUE(plan.step());
  EXPECT_THAT(plan.text(3), HasSubstr("USING PRIMARY KEY (tenant=? AND day>?)"));
}

TEST_F(StoreTest, CommitsWhileAReportIsRead) {
  draw(1, "team-a", "estimated:model", 1, "2026-11-24");
  draw(2, "team-a", "estimated:model", 2, "2026-11-25");
  Store store(path());
  EnergyReports reports(path());
  std::vector<double> seen;
  reports.read({.by = EnergyQuestion::By::kDay}, [&](const EnergySum& sum) {
    seen.push_back(sum.joules);
    StoreBatch batch = event("while it is read");
    batch.energy.push_back(
        {2, 2, "team-a", "node-1", "estimated:model", 50.0 * last_, 0, "2026-11-25"});
    store.commit(batch);
  });
  EXPECT_THAT(seen, testing::ElementsAre(1, 2)) << "as it was when the report began";
  EXPECT_EQ(read_energy({}).at(0).joules, 101);
}

/// As long as it lives, this process writes nothing into files: the disk for temporary ones is
/// full.
class NoRoom {
 public:
  NoRoom() {
    before_ = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &room_);
    const rlimit none{0, room_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &none);
  }
  ~NoRoom() {
    setrlimit(RLIMIT_FSIZE, &room_);
    signal(SIGXFSZ, before_);
  }

 private:
  rlimit room_{};
  sighandler_t before_;
};

TEST_F(StoreTest, AReportWithoutRoomForItsTemporaryFilesIsRefused) {
  Store store(path());
  constexpr int kJobs = 80000;
  Database(path()).execute(fmt::format(
      "WITH RECURSIVE job(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM job WHERE n < {}) "
      "INSERT INTO energy SELECT 'team-a', '2026-11-' || (10 + n % 20), n, 'estimated:model', 1, 1 "
      "FROM job",
      kJobs));
  EnergyReports reports(path());
  int64_t sums = 0;
  const auto read = [&] {
    reports.read({.by = EnergyQuestion::By::kJob}, [&](const EnergySum&) { ++sums; });
  };
  {
    const NoRoom no_room;
    EXPECT_THROW(read(), Error);
  }
  sums = 0;
  read();
  EXPECT_EQ(sums, kJobs);
}

TEST_F(StoreTest, AnOlderDatabaseKeepsItsJoules) {
  draw(1, "team-a", "estimated:model", 5, "2026-11-24");
  Database(path()).execute(
      "CREATE TABLE old(day TEXT, job INTEGER, source TEXT, tenant TEXT NOT NULL, joules REAL NOT "
      "NULL, tokens REAL NOT NULL, PRIMARY KEY(day, job, source)); INSERT INTO old SELECT day, "
      "job, "
      "source, tenant, joules, tokens FROM energy; DROP TABLE energy; ALTER TABLE old RENAME TO "
      "energy; CREATE INDEX energy_by_job ON energy(job); DROP TABLE estimate; DROP TABLE "
      "snapshot_piece; DROP TABLE upload; ALTER TABLE snapshot DROP COLUMN bytes; PRAGMA "
      "user_version = 6");
  EXPECT_EQ(told({}), "team-a: 1 jobs estimated:model 5 J 10 tokens\n");
  EXPECT_EQ(Store(path()).accounts().of_job(1).at(0).tokens, 10);
}

TEST_F(StoreTest, NodesJoulesGoOnWithTheNextAgentAndTheNextDaemon) {
  const auto report = [&](double joules, double agent_began) {
    Store store(path());  // another daemon each time
    StoreBatch batch;
    batch.node_energy.push_back({"n", "estimated:model", joules, agent_began});
    store.commit(batch);
    return store.accounts().of_nodes().at(0).joules;
  };
  EXPECT_EQ(report(100, 1.5), 100);
  EXPECT_EQ(report(100, 1.5), 100) << "a total, no difference";
  EXPECT_EQ(report(160, 1.5), 160);
  EXPECT_EQ(report(40, 2.5), 200) << "an agent that began again counts from nothing";
  EXPECT_EQ(report(30, 2.5), 200) << "never less";
}

TEST_F(StoreTest, ACheckpointDropsTheOneBeforeIt) {
  Store store(path());
  const auto report = [&](int64_t job, const std::vector<std::string>& contents, double seconds) {
    StoreBatch batch;
    batch.checkpoints.push_back({job, 7, {}, seconds});
    for (const std::string& sha256 : contents)
      batch.checkpoints[0].files.push_back({"x", sha256, 1});
    store.commit(batch);
  };
  report(1, {"a", "b"}, 10);
  report(2, {"a"}, 11);
  EXPECT_TRUE(store.dropped_files().empty());
  report(1, {"b", "c"}, 20);
  EXPECT_THAT(store.checkpoint_contents(), testing::ElementsAre("a", "b", "c"));
  std::vector<DroppedFile> dropped = store.dropped_files();
  ASSERT_EQ(dropped.size(), 2u) << "who needs them still is looked at when they are removed";
  EXPECT_EQ(dropped[0].sha256 + dropped[1].sha256, "ab");
  EXPECT_EQ(dropped[0].reported_seconds, 10);
  store.forget_dropped(dropped);
  store.drop_checkpoint(2);
  EXPECT_THAT(store.checkpointed_jobs(), testing::ElementsAre(1));
  dropped = store.dropped_files();
  ASSERT_EQ(dropped.size(), 1u);
  EXPECT_EQ(dropped[0].reported_seconds, 11);
}

TEST_F(StoreTest, ARequestThatIsForgottenMayComeAgain) {
  Store store(path());
  const auto submit = [&](const char* user) {
    StoreBatch batch;
    batch.submissions.push_back({"team-a/nightly", user, "yaml", {}, {}, ""});
    store.commit(batch);
  };
  submit("ada");
  submit("bob");
  EXPECT_EQ(store.user_of("team-a/nightly"), "bob");
}

TEST_F(StoreTest, ALostRunsLateCheckpointDoesNotTakeThePlaceOfItsSuccessors) {
  Store store(path());
  const auto report = [&](int64_t token, const std::string& sha256, double seconds) {
    StoreBatch batch;
    batch.checkpoints.push_back({1, token, {{"x", sha256, 1}}, seconds});
    store.commit(batch);
    return store.checkpoint_of(1).at(0).sha256;
  };
  EXPECT_EQ(report(3, "lost", 10), "lost");
  EXPECT_EQ(report(3, "lost later", 11), "lost later") << "while its successor has none";
  EXPECT_EQ(report(4, "successor", 20), "successor");
  store.forget_dropped(store.dropped_files());
  EXPECT_EQ(report(3, "lost too late", 30), "successor");
  const std::vector<DroppedFile> dropped = store.dropped_files();
  ASSERT_EQ(dropped.size(), 1u) << "what nobody needs is removed";
  EXPECT_EQ(dropped[0].sha256, "lost too late");
  EXPECT_EQ(dropped[0].reported_seconds, 30);
  EXPECT_EQ(report(4, "successor later", 31), "successor later");
}

TEST_F(StoreTest, RefusesADatabaseOfANewerVersion) {
  Store(path()).commit(event("one"));
  Database(path()).execute("PRAGMA user_version = 99");
  try {
    Store store(path());
    FAIL() << "opened";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("version 99"));
  }
}

TEST_F(StoreTest, AFullDiskLosesNothingThatWasCommitted) {
  Store store(path());
  store.commit(event("one"));
  // SQLite's own limit stands for the disk's: the error is the same SQLITE_FULL.
  Database small(path());
  small.execute("PRAGMA max_page_count = 30");
  EXPECT_THROW(
      small.execute("INSERT INTO journal(event, decisions) VALUES('two', zeroblob(1000000))"),
      Error);
  store.commit(event("three"));
  EXPECT_THAT(events(), testing::ElementsAre("one", "three"));
}

/// A child commits numbered events and says which are durable; it is killed in the middle.
TEST_F(StoreTest, WhatWasSaidToBeDurableSurvivesAKill) {
  std::mt19937 random(5);
  for (int round = 0; round < 5; ++round) {
    name_ = "wattle" + std::to_string(round) + ".db";
    last_ = 0;
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      Store store(path());
      for (int n = 0;; ++n) {
        store.commit(event(std::to_string(n)));
        if (write(ends[1], &n, sizeof n) != sizeof n) _exit(1);
      }
    }
    close(ends[1]);
    int last = -1, n = 0;
    const int kill_after = 1 + static_cast<int>(random() % 60);
    while (read(ends[0], &n, sizeof n) == sizeof n) {
      if (n == kill_after) kill(child, SIGKILL);
      last = n;
    }
    waitpid(child, nullptr, 0);
    close(ends[0]);
    const auto kept = events();
    ASSERT_GE(kept.size(), static_cast<size_t>(last) + 1) << "killed after " << last;
    for (size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept[i], std::to_string(i));
  }
}

}  // namespace
}  // namespace wattle::scheduler
