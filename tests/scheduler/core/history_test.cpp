#include <regex>

#include "common/error.h"
#include "scheduler/core/journal/journal.h"
#include "scheduler/core/journal/state_text.h"
#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// Jobs that end at once, and a bound on what is kept of them.
class History : public CoreStory {
 protected:
  const State& now() const { return cluster.core.state(); }
  bool is_known(JobId id) const { return now().jobs.contains(id); }

  void keep_at_most(int64_t bytes) {
    cluster.apply(Configured{"energy", 0, 6, 20, /*history_seconds=*/90 * 86400.0, bytes});
  }
  JobId submit(const std::string& tenant, const std::string& name, size_t override_bytes = 0,
               const std::vector<std::string>& after = {}) {
    return cluster.submit(name, 1, 1, 1e6, [&](Submit& s) {
      s.spec.tenant = tenant;
      s.spec.after = after;
      if (override_bytes > 0) s.spec.sweep.grid = {{"a", {std::string(override_bytes, 'x')}}};
    });
  }
  JobId submit_kind(const std::string& name, const std::string& kind,
                    const std::vector<std::string>& after = {}) {
    return cluster.submit(name, 1, 1, 5, [&](Submit& s) {
      s.spec.tenant = "loud";
      s.spec.after = after;
      s.work.kind = kind;
    });
  }
  /// What was learnt of jobs, as it stands in the state's text.
  std::string pages() const {
    const std::string text = to_text(now());
    const size_t begin = text.find("\nprofiles ");
    return text.substr(begin, text.find('\n', begin + 1) - begin);
  }
  /// A job that was cancelled before it ran.
  JobId ended(const std::string& tenant, const std::string& name, size_t override_bytes = 0) {
    const JobId id = submit(tenant, name, override_bytes);
    cluster.apply(Cancel{id});
    return id;
  }
  /// The first and the last of so many.
  std::pair<JobId, JobId> flood(const std::string& tenant, int jobs, size_t override_bytes) {
    const JobId first = ended(tenant, tenant + "0", override_bytes);
    JobId last = first;
    for (int i = 1; i < jobs; ++i) last = ended(tenant, tenant + std::to_string(i), override_bytes);
    return {first, last};
  }
};

TEST_F(History, OfTooMuchTheOldestOfWhoHasMostIsForgotten) {
  keep_at_most(200'000);
  const JobId others = ended("quiet", "old");
  const auto [first, last] = flood("loud", 100, 4000);
  EXPECT_TRUE(is_known(first)) << "not at each event";
  cluster.run(10);
  EXPECT_FALSE(is_known(first));
  EXPECT_FALSE(now().history.contains(first) || now().acceptances.contains(first));
  EXPECT_FALSE(now().jobs_by_name.contains({"loud", "loud0"}));
  EXPECT_TRUE(is_known(last)) << "the newest stay";
  EXPECT_TRUE(is_known(others)) << "who keeps little loses nothing, however old it is";
  EXPECT_LE(now().ended.kept_bytes(), 180'000);
  EXPECT_GT(now().ended.kept_bytes(), 170'000);
}

TEST_F(History, WhoHasTheMostChangesWhileItIsForgotten) {
  keep_at_most(200'000);
  flood("big", 60, 4000);
  flood("bigger", 80, 4000);
  cluster.run(10);
  int big = 0, bigger = 0;
  for (const auto& [id, job] : now().jobs) ++(job.request.tenant == "big" ? big : bigger);
  EXPECT_NEAR(big, bigger, 1) << "in the end they have the same";
  EXPECT_GT(big, 10);
}

TEST_F(History, WithoutABoundNothingIsForgottenForItsSize) {
  const auto [first, last] = flood("loud", 100, 4000);
  cluster.run(10);
  EXPECT_TRUE(is_known(first));
}

TEST_F(History, WhatAJobWaitsForStays) {
  keep_at_most(100'000);
  const JobId needed = ended("loud", "needed");
  const JobId waits = submit("loud", "waits", 0, {"needed"});
  const auto [first, last] = flood("loud", 50, 4000);
  cluster.run(10);
  EXPECT_FALSE(is_known(first));
  EXPECT_TRUE(is_known(needed));
  EXPECT_EQ(reason(waits), Reason::kDependencyNeverSatisfied);
  cluster.apply(Cancel{waits});
  flood("loud", 50, 4000);
  cluster.run(10);
  EXPECT_FALSE(is_known(needed)) << "nobody waits any more";
}

TEST_F(History, WhereAllOfItIsNeededItIsNotLookedForAtEachTick) {
  keep_at_most(1000);
  ended("loud", "needed");
  submit("loud", "waits", 0, {"needed"});
  cluster.run(60);
  const double looked = now().forgot_seconds;
  EXPECT_NEAR(looked, cluster.now(), 6);
  EXPECT_FALSE(is_forgetting_due(now(), looked + 4));
  EXPECT_TRUE(is_forgetting_due(now(), looked + 5));
}

TEST_F(History, ARequestOfAForgottenJobIsANewOne) {
  keep_at_most(100'000);
  Submit again;
  again.request_id = again.name = "again";
  again.spec.tenant = "loud";
  again.work = {1e6, "", {}, 1};
  cluster.apply(again);
  cluster.apply(Cancel{now().last_job});
  EXPECT_TRUE(cluster.apply(again).empty()) << "it is known";
  flood("loud", 50, 4000);
  cluster.run(10);
  ASSERT_FALSE(now().jobs_of_request.contains("again"));
  const auto decisions = cluster.apply(again);
  ASSERT_FALSE(decisions.empty());
  EXPECT_EQ(std::get<Accepted>(decisions.front()).job, now().last_job);
}

TEST_F(History, ARequestOfWhichAJobIsLeftIsNotTakenAgain) {
  keep_at_most(100'000);
  Submit sweep;
  sweep.request_id = sweep.name = "sweep";
  sweep.spec.tenant = "loud";
  sweep.spec.sweep.grid = {{"run.name", {"a", "b"}}};
  sweep.work = {1e6, "", {}, 1};
  cluster.apply(sweep);
  const JobId left = now().last_job;
  cluster.apply(Cancel{left - 1});
  flood("loud", 50, 4000);
  cluster.run(10);
  ASSERT_FALSE(is_known(left - 1));
  EXPECT_THAT(now().jobs_of_request.at("sweep"), testing::ElementsAre(left));
  EXPECT_THAT(now().jobs_by_name.at({"loud", "sweep"}), testing::ElementsAre(left));
  EXPECT_FALSE(now().jobs_by_name.contains({"loud", "sweep[0]"}));
  EXPECT_TRUE(cluster.apply(sweep).empty());
}

TEST_F(History, WhatWasLearntOfAKindStaysWithItsLastJob) {
  keep_at_most(100'000);
  submit_kind("first", "present"), submit_kind("other", "past"), submit("loud", "own");
  cluster.run(30);
  cluster.apply(Cancel{3});
  cluster.run(10);
  EXPECT_THAT(pages(), testing::AllOf(HasSubstr("kind:present"), HasSubstr("kind:past"),
                                      HasSubstr("job:3")));
  const std::string all = pages();
  const std::string learnt = all.substr(all.find("kind:present"), 150);
  ASSERT_THAT(learnt, HasSubstr("square_deviation"));
  submit("loud", "before-last");
  submit_kind("last", "present", {"before-last"});
  flood("loud", 50, 4000);
  cluster.run(10);
  ASSERT_FALSE(is_known(1) || is_known(2) || is_known(3));
  EXPECT_THAT(pages(), HasSubstr(learnt));
  EXPECT_THAT(pages(), testing::Not(HasSubstr("kind:past")));
  EXPECT_THAT(pages(), testing::Not(HasSubstr("job:3\"")));
}

TEST_F(History, WhatIsCountedIsAboutWhatTheStateTakes) {
  const auto growth = [&](auto&& happen) {
    const size_t before = to_text(now()).size();
    const int64_t counted = now().ended.kept_bytes();
    happen();
    const auto grown = static_cast<double>(to_text(now()).size() - before);
    return static_cast<double>(now().ended.kept_bytes() - counted) / grown;
  };
  EXPECT_NEAR(growth([&] { flood("a", 40, 0); }), 1, 0.15) << "cancelled";
  EXPECT_NEAR(growth([&] { flood("b", 40, 4000); }), 1, 0.15) << "with long texts";
  EXPECT_NEAR(growth([&] {
                for (int i = 0; i < 40; ++i) cluster.submit("run" + std::to_string(i), 1, 2, 5);
                ASSERT_TRUE(cluster.run_until_idle(300));
              }),
              1, 0.15)
      << "with a run";
  EXPECT_NEAR(growth([&] {
                const JobId id = cluster.submit("often", 8, 8, 1000);
                for (int i = 0; i < 20; ++i) {
                  set_cap(500), cluster.run(20);
                  set_cap(2000), cluster.run(20);
                }
                cluster.apply(Cancel{id});
                ASSERT_TRUE(cluster.run_until_idle(300));
              }),
              1, 0.25)
      << "with many runs";
}

TEST_F(History, IsTheSameInAStateThatIsReadBack) {
  flood("a", 10, 100);
  cluster.submit("run", 1, 2, 5);
  ASSERT_TRUE(cluster.run_until_idle(300));
  const std::string text = to_text(now());
  EXPECT_EQ(state_from_text(text)->ended.kept_bytes(), now().ended.kept_bytes());
  // An older program did not count; of runs that are over it says nothing.
  const std::string older = std::regex_replace(text, std::regex(",\"kept_bytes\":[0-9]+"), "");
  ASSERT_LT(older.size(), text.size());
  const auto counted = static_cast<double>(state_from_text(older)->ended.kept_bytes());
  EXPECT_NEAR(counted / static_cast<double>(now().ended.kept_bytes()), 1, 0.02);
}

TEST_F(History, AnOlderJournalHasNoBoundAndIsReplayedToTheSameBytes) {
  const Event event = event_from_line(
      R"({"time_seconds":100,"event":"configured","policy":"energy","eta":0,"lease_seconds":6,)"
      R"("orphan_grace_seconds":20,"history_seconds":600})");
  Core core(CoreStory::options());
  const auto decisions = core.apply(event);
  ASSERT_EQ(decisions.size(), 1u);
  EXPECT_EQ(to_line(decisions.front()),
            R"({"decision":"noted","what":"options","why":"policy energy, eta 0, leases of 6 s )"
            R"(and 20 s, jobs kept for 600 s"})");
  EXPECT_EQ(core.state().options.history_bytes, 0);
}

}  // namespace
}  // namespace wattle::scheduler
