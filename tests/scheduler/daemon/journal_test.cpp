#include <filesystem>

#include "scheduler/daemon/journal/rounds.h"
#include "tests/scheduler/daemon/journal_story.h"
#include "tests/scheduler/store/kept_state.h"

namespace wattle::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using JournalTest = JournalStory;

TEST_F(JournalTest, AStartGoesOnFromTheNewestSnapshotAndWhatCameAfterIt) {
  const std::string first = live([this](JournalledCore& core) {
    core.apply(node(1));
    submit(core, 0, 5);
  });
  EXPECT_THAT(reasons(), ElementsAre("beginning", "end"));
  EXPECT_EQ(live(), first);
  forget_the_end();
  EXPECT_EQ(live(), first) << "and from an older one by its events";
  EXPECT_EQ(records().size(), 6u);
}

TEST_F(JournalTest, TimeThatWasAheadBeforeIsRightAgainAfterAWhile) {
  const double right = now_;
  now_ += 3600;
  live([this](JournalledCore& core) { core.apply(node(1)); });
  now_ = right;
  live([&](JournalledCore& core) {
    submit(core, 0, 1);
    const auto time = [&] {
      return core.read([](const Core& c) { return c.state().now_seconds; });
    };
    EXPECT_NEAR(time(), right + 3600, 5) << "it never goes back";
    now_ += 20000;
    submit(core, 1, 1);
    EXPECT_NEAR(time(), now_ + 1600, 5);
    now_ += 16100;
    submit(core, 2, 1);
    EXPECT_NEAR(time(), now_, 1e-3);
    EXPECT_NEAR(core.now(), now_, 0.2) << "whoever asks gets the time of the events";
  });
}

TEST_F(JournalTest, ADamagedSnapshotIsPassedOver) {
  const std::string state = live([this](JournalledCore& core) { submit(core, 0, 3); });
  edit("UPDATE snapshot_piece SET text = substr(text, 1, 100) WHERE snapshot = 2");
  EXPECT_EQ(live(), state);
  edit("UPDATE snapshot SET sha256 = 'x'");
  EXPECT_THAT(start_fault(), HasSubstr("no snapshot is whole"));
}

TEST_F(JournalTest, ARecordThatIsMissingIsNotPassedOver) {
  live([this](JournalledCore& core) { submit(core, 0, 4); });
  forget_the_end();
  edit("DELETE FROM journal WHERE number = 2");
  EXPECT_THAT(start_fault(), HasSubstr("record 2 is missing"));
  EXPECT_THAT(fault(), HasSubstr("record 2 is missing"));
}

/// What the core throws at: no agent and no client can say it.
const Configured kImpossible{"fastest", 0.5, 6, 20, 86400};

TEST_F(JournalTest, AfterAnEventThatThrowsNothingIsTakenAndAStartGoesOnBeforeIt) {
  limits_.snapshot_events = 2;  // one is due, of a core that is half-changed
  std::string state;
  live([&](JournalledCore& core) {
    submit(core, 0, 3);
    state = core.read([](const Core& c) { return to_text(c.state()); });
    EXPECT_THAT(fault_of(core, kImpossible), HasSubstr("event 4 (configured)"));
    EXPECT_THAT(fault_of(core, job(3)), HasSubstr("event 4 (configured)"));
    EXPECT_THAT(core.store_fault(), HasSubstr("event 4 (configured)"));
    EXPECT_GE(run_round(core), 0.5) << "no ticks, no plans";
  });
  EXPECT_EQ(live(), state);
  EXPECT_THAT(records(), ElementsAre(1, 2, 3));
  EXPECT_EQ(fault(), "");
}

TEST_F(JournalTest, WhatChangesNothingIsAnsweredWithoutARecord) {
  live([&](JournalledCore& core) {
    core.apply(node(1));
    submit(core, 1, 1);
    const auto events = [&] { return core.read([](const Core& c) { return c.state().events; }); };
    const int64_t before = events();
    Submit wide = job(2), late = job(3);
    wide.spec.ranks = {5, 5};
    late.spec.deadline = "2001-01-01T00:00:00Z";
    EXPECT_THAT(why_refused(core, wide), HasSubstr("it needs at least 5 devices"));
    EXPECT_THAT(why_refused(core, late), HasSubstr("job.deadline: expected a time to come"));
    EXPECT_THAT(why_refused(core, Cancel{99}), HasSubstr("there is no job 99"));
    EXPECT_THAT(core.apply(job(1)), testing::IsEmpty()) << "the same request";
    EXPECT_EQ(events(), before);
    submit(core, 2, 1);
    EXPECT_EQ(events(), before + 1);
  });
  EXPECT_THAT(records(), testing::ElementsAre(1, 2, 3));
}

TEST_F(JournalTest, AnEventWhoseRecordsCantBeMadeIsNotTakenInHalf) {
  std::string state;
  live([&](JournalledCore& core) {
    submit(core, 0, 2);
    state = core.read([](const Core& c) { return to_text(c.state()); });
    const auto attach = [](const std::vector<Decision>&, const State&, StoreBatch& batch) {
      batch.audit.push_back({1, "half", "a", "record"});
      throw std::runtime_error("no more");
    };
    EXPECT_THAT(fault_of(core, job(2), attach), HasSubstr("event 3 (submit): no more"));
    core.record({{}, {}, {}, {{1, "whole", "a", "record"}}, {}});
  });
  EXPECT_EQ(live(), state);
  EXPECT_THAT(records(), ElementsAre(1, 2));
  EXPECT_THAT(audited(), ElementsAre("whole"));
}

TEST_F(JournalTest, AJournalFromBeforeThereWereSnapshotsIsRefused) {
  Store(path()).commit({{{1, "{}", ""}}, {}, {}, {}, {}});
  EXPECT_THAT(start_fault(), HasSubstr("has no snapshot"));
}

TEST_F(JournalTest, AnotherVersionOfTheProgramKeepsTheStateAnew) {
  const std::string state = live([this](JournalledCore& core) { submit(core, 0, 3); });
  edit("UPDATE snapshot SET program = 'older'");
  EXPECT_EQ(live(), state);
  EXPECT_THAT(reasons(), ElementsAre("beginning", "end", "version"));
  EXPECT_EQ(fault(), "");
  EXPECT_EQ(check_.others, 3);
}

TEST_F(JournalTest, WhatAnotherVersionDecidedOtherwiseSaysHowToGoOn) {
  live([this](JournalledCore& core) { submit(core, 0, 3); });
  forget_the_end();
  edit(
      "UPDATE snapshot SET program = 'older'; UPDATE journal SET decisions = 'x' WHERE number = 3");
  EXPECT_THAT(start_fault(), HasSubstr("end it with SIGTERM"));
}

/// A submit whose expected seconds, with all their digits, come from pow() and cbrt().
class JournalOfAnotherProcessor : public JournalTest {
 protected:
  JournalOfAnotherProcessor() {
    state_ = live([this](JournalledCore& core) {
      core.apply(node(1));
      submit(core, 0, 2);
    });
    forget_the_end();
  }

  /// Record 3 says so many times the number.
  void scale_run_seconds(double factor) {
    std::string decisions = decisions_of(3);
    const size_t begin = decisions.find(kKey) + kKey.size(), end = decisions.find(',', begin);
    const std::string seconds = decisions.substr(begin, end - begin);
    decisions.replace(begin, end - begin, fmt::format("{}", std::stod(seconds) * factor));
    edit(fmt::format("UPDATE journal SET decisions = '{}' WHERE number = 3", decisions));
  }
  std::string decisions_of(int64_t number) {
    Database database(path());
    Statement one(database, fmt::format("SELECT decisions FROM journal WHERE number = {}", number));
    EXPECT_TRUE(one.step());
    return one.text(0);
  }

  const std::string kKey = "\"run_seconds\":";
  std::string state_;
};

TEST_F(JournalOfAnotherProcessor, StartsThoughItsNumbersAreRoundedOtherwise) {
  scale_run_seconds(1 + 1e-12);
  EXPECT_THAT(fault(), HasSubstr("record 3 can't be replayed")) << "what is checked is every byte";
  EXPECT_EQ(live(), state_) << "with the numbers of now";
}

TEST_F(JournalOfAnotherProcessor, DoesNotStartWithOtherDecisions) {
  scale_run_seconds(1 + 1e-3);
  EXPECT_THAT(fault(), HasSubstr("record 3 can't be replayed"));
  EXPECT_THAT(start_fault(), HasSubstr("record 3 can't be replayed"));
}

TEST_F(JournalTest, KeepsAStateAfterSoManyEventsAndDropsWhatIsOlderThanItShouldBe) {
  limits_ = {10, /*keep_seconds=*/0};
  int jobs = 0;
  const std::string state = live([&](JournalledCore& core) {
    for (int64_t number = 0; number < 80; number = newest_snapshot(core)) submit(core, jobs++, 1);
  });
  const auto heads = snapshots();
  ASSERT_EQ(heads.size(), 2u);
  EXPECT_EQ(heads[0].reason, "events");
  EXPECT_EQ(heads[1].number, jobs);
  const auto kept = records();
  EXPECT_EQ(kept.front(), heads[0].number + 1) << "from the older of two snapshots on";
  EXPECT_EQ(kept.back(), jobs);
  EXPECT_EQ(live(), state);
  EXPECT_EQ(fault(), "");
}

TEST_F(JournalTest, NothingIsDroppedThatIsYoungEnough) {
  limits_ = {10, /*keep_seconds=*/3600};
  live([this](JournalledCore& core) { submit(core, 0, 40); });
  EXPECT_EQ(records().size(), 40u);
}

/// Nodes, jobs, plans and ends.
class JournalHistory : public JournalTest {
 protected:
  JournalHistory() {
    limits_.snapshot_events = 20;
    live([this](JournalledCore& core) {
      core.apply(node(1));
      for (int i = 0; i < 30; ++i) {
        core.apply(job(i));
        run_round(core);
        end_oldest(core);
      }
    });
    live([this](JournalledCore& core) { core.apply(node(2)); });
  }

  void end_oldest(JournalledCore& core) {
    const Token token = core.read([](const Core& c) {
      const auto& runs = c.state().job_of_token;
      return runs.size() < 2 ? 0 : runs.begin()->first;
    });
    if (token != 0) core.apply(JobExited{"n", 1, token, 0, 50});
  }
};

TEST_F(JournalHistory, ReplaysToTheSameBytes) {
  EXPECT_EQ(fault(), "");
  EXPECT_GT(check_.records, 80);
  EXPECT_GT(check_.plans, 25);
  EXPECT_GE(check_.states, 3);
  EXPECT_EQ(check_.others, 0);
  EXPECT_THAT(said_, HasSubstr("the same"));
}

TEST_F(JournalHistory, ADecisionThatIsNotTheSameIsFound) {
  edit("UPDATE journal SET decisions = replace(decisions, 'most progress', 'best progress')");
  EXPECT_THAT(fault(), HasSubstr("can't be replayed"));
}

TEST_F(JournalHistory, APlanThatWouldNotBeMadeIsFound) {
  edit(
      "UPDATE journal SET event = replace(event, 'most progress', 'best progress') WHERE event "
      "LIKE '%\"event\":\"planned\"%'");
  EXPECT_THAT(fault(), HasSubstr("is another plan than is made now"));
}

TEST_F(JournalTest, EveryPartOfALongPlanIsChecked) {
  live([this](JournalledCore& core) {
    for (int i = 0; i < 1200; ++i) core.post(job(i));
    core.apply(node(1));
    run_round(core);
  });
  EXPECT_EQ(fault(), "");
  EXPECT_EQ(check_.plans, 1);
  edit(
      "UPDATE journal SET event = replace(event, 'Resources', 'Priority') WHERE event "
      "LIKE '%\"part\":2,%'");
  EXPECT_THAT(fault(), HasSubstr("is another plan than is made now"));
}

TEST_F(JournalHistory, AStateThatIsNotReachedIsFound) {
  // A snapshot that says something else, with the checksum that belongs to it.
  Store store(path());
  const auto heads = store.journal().snapshots();
  auto state = state_from_text(store.journal().state_of(heads[1]));
  state->jobs.at(1).units_done += 1;
  keep_state(store.journal(), heads[1], {to_text(*state)});
  edit(
      fmt::format("DELETE FROM snapshot WHERE id BETWEEN {} AND {}", heads[1].id, heads.back().id));
  EXPECT_THAT(fault(), HasSubstr("is another than the snapshot"));
}

TEST_F(JournalTest, OnlyAFolderWithAJournalIsChecked) {
  EXPECT_THAT(fault(), HasSubstr("there is no such database"));
  EXPECT_FALSE(std::filesystem::exists(path())) << "and none is made";
}

}  // namespace
}  // namespace wattle::scheduler
