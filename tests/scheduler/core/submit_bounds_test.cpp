#include <chrono>

#include "scheduler/core/domain/rank_counts.h"
#include "scheduler/core/engine/weight.h"
#include "scheduler/core/journal/state_text.h"
#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

/// A client that says what it likes.
class SubmitBounds : public CoreStory {
 protected:
  static Submit request() {
    Submit submit;
    submit.request_id = "r";
    submit.name = "any";
    return submit;
  }
  std::string answer(const Submit& submit) { return refusal(cluster.apply(submit)); }
};

TEST_F(SubmitBounds, TooManyRanksAreRefusedAtOnce) {
  Submit submit = request();
  const auto begin = std::chrono::steady_clock::now();
  submit.spec.ranks = {1, 2147483647};
  EXPECT_THAT(answer(submit), HasSubstr("job.ranks: expected 1 <= min <= max <= 65536, got 1 and "
                                        "2147483647"));
  submit.spec.ranks = {4294967297, 4294967297};
  EXPECT_THAT(answer(submit), HasSubstr("got 4294967297 and 4294967297"));
  submit.spec.ranks = {0, 1};
  EXPECT_THAT(answer(submit), HasSubstr("got 0 and 1"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  submit.spec.ranks = {1, 65536};
  EXPECT_EQ(answer(submit), "");
  EXPECT_LE(cluster.job(1).rank_counts.size(), kMostRankCounts);
}

TEST_F(SubmitBounds, FewOfManyFeasibleCountsAreKept) {
  Submit submit = request();
  submit.spec.ranks = {1, 65536};
  for (int count = 1; count <= 3000; ++count) submit.work.rank_counts.push_back(count);
  EXPECT_EQ(answer(submit), "");
  EXPECT_THAT(cluster.job(1).rank_counts, ElementsAre(1, 2, 8, 32, 64, 256, 1024, 3000));
  EXPECT_LE(cluster.job(1).request.work.rank_counts.size(), kMostRankCounts);
  submit.request_id = "again";
  submit.work.rank_counts.assign(500'000, 1);
  EXPECT_THAT(answer(submit), HasSubstr("work.rank_counts: expected at most 4096, got 500000"));
}

TEST_F(SubmitBounds, LongNamesAndListsAreRefused) {
  Submit submit = request();
  submit.name = std::string(201, 'x');
  EXPECT_THAT(answer(submit), HasSubstr("run.name: expected at most 200 bytes, got 201"));
  submit = request();
  submit.spec.tenant = std::string(201, 'x');
  EXPECT_THAT(answer(submit), HasSubstr("job.tenant: expected at most 200 bytes"));
  submit = request();
  submit.spec.after.assign(1001, "x");
  EXPECT_THAT(answer(submit), HasSubstr("job.after: expected at most 1000 jobs, got 1001"));
  submit.spec.after = {std::string(300, 'x')};
  EXPECT_THAT(answer(submit), HasSubstr("job.after[0]: expected at most 208 bytes, got 300"));
  submit = request();
  submit.work.units = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(answer(submit), HasSubstr("work.units: expected 0 to 1e+15, got nan"));
}

/// Sums of them would be infinite, and what is made of those no number.
TEST_F(SubmitBounds, EstimatesThatOverflowAreRefused) {
  Submit submit = request();
  for (const double rate : {1.7e308, 1e10, 1e-300, -1.0}) {
    submit.work = {1e6, "", {}, rate};
    EXPECT_THAT(answer(submit), HasSubstr("work.units_per_second: expected 0, or 1e-09 to 1e+09"));
    submit.work = {};
    submit.spec.sweep.grid = {{"run.seed", {"1", "2"}}};
    submit.point_work = {{1e6, "", {}, 1}, {1e6, "", {}, rate}};
    EXPECT_THAT(answer(submit), HasSubstr("work.units_per_second"));
    submit = request();
  }
  submit.work = {1.7e308, "", {}, 1};
  EXPECT_THAT(answer(submit), HasSubstr("work.units: expected 0 to 1e+15, got 1.7e+308"));
  EXPECT_THAT(refusal(cluster.apply(BudgetSet{"team-a", 1e6, 86400, 1e300})),
              HasSubstr("expected a weight of at most 1e+09"));
}

/// A state that was kept holds one that was taken before there was a bound, and jobs say their
/// speed themselves.
TEST_F(SubmitBounds, AnEstimateThatOverflowsTakesNothingFromOthers) {
  set_cap(520);
  const JobId boaster = cluster.submit("boaster", 2, 8, 1e6, [](Submit& s) {
    s.work.units_per_second = 123456;
    s.spec.priority = 10;
  });
  std::vector<JobId> others;
  for (int i = 0; i < 5; ++i) {
    others.push_back(cluster.submit(fmt::format("j{}", i), 1 + i % 3, 3 + i, 1e6, [&](Submit& s) {
      s.work.units_per_second = 1 + 0.37 * i;
      s.spec.priority = 20;
    }));
  }
  std::string text = to_text(cluster.core.state());
  for (size_t at; (at = text.find("123456")) != std::string::npos;) text.replace(at, 6, "1.7e308");
  Core again(state_from_text(text));
  std::set<JobId> started;
  for (int i = 0; i < 20; ++i) {
    const double now = cluster.now() + i;
    again.apply({now, CapSet{"cap", 520.0 + 61 * i, CapTier::kHard, {}, {}}});
    for (const Decision& decision : again.apply({now, make_plan(again.request_plan(now))})) {
      if (const auto* start = std::get_if<Start>(&decision)) started.insert(start->job);
    }
  }
  EXPECT_FALSE(started.contains(boaster)) << "it has the least priority";
  EXPECT_FALSE(started.empty());
}

TEST_F(SubmitBounds, ASpeedThatNoJobHasIsNoMeasurement) {
  const JobId job = cluster.submit("boaster", 1, 2, 1e6);
  cluster.run(5);
  const scheduler::Run& run = run_of(job);
  const Node& node = cluster.core.state().nodes[run.shares.front().node];
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double rate : {kInfinity, 1e308, std::nan("")}) {
    cluster.apply(Measured{node.name, node.epoch, run.token, 250, 240, 10, rate, rate});
  }
  ProfileBook profiles = cluster.core.state().profiles;
  for (const Option& option : *profiles.options(cluster.core.state().types, cluster.job(job))) {
    EXPECT_LT(option.performance.units_per_second, 10);
  }
  EXPECT_LE(cluster.job(job).units_done, 1e308);
}

TEST_F(SubmitBounds, SweepsThatWouldFillTheMemoryAreRefused) {
  Submit submit = request();
  const std::vector<std::string> hundred(100, "1");
  submit.spec.sweep.grid = {{"a.b", hundred}, {"a.c", hundred}, {"a.d", {"1", "2"}}};
  EXPECT_THAT(answer(submit), HasSubstr("job.sweep: makes 20000 jobs, at most 10000"));
  submit.spec.sweep = {};
  submit.spec.sweep.list.assign(10001, {{"a.b", "1"}});
  EXPECT_THAT(answer(submit), HasSubstr("makes 10001 jobs"));
  submit.spec.sweep = {};
  submit.spec.sweep.grid.assign(65, {"a.b", {"1"}});
  EXPECT_THAT(answer(submit), HasSubstr("sets 65 keys of a job, at most 64"));
  submit.spec.sweep.grid = {{"a.b", {std::string(4096, 'x')}}};
  EXPECT_THAT(answer(submit), HasSubstr("4100 bytes, at most 4096"));
  submit.spec.sweep.grid = {{"a.b", std::vector<std::string>(10000, std::string(1000, 'x'))}};
  EXPECT_THAT(answer(submit), HasSubstr("have 10040000 bytes, at most 8388608"));
}

TEST_F(SubmitBounds, SweepsOverWhatIsReadOnceAreRefused) {
  for (const char* key : {"job.tenant", "job.ranks.min", "job.after", "run.output_dir"}) {
    Submit submit = request();
    submit.spec.sweep.grid = {{key, {"1", "2"}}};
    EXPECT_THAT(answer(submit), HasSubstr(std::string(key) + " is the same for all jobs"));
    submit.spec.sweep = {};
    submit.spec.sweep.list = {{{key, "1"}}};
    EXPECT_THAT(answer(submit), HasSubstr(key));
  }
}

TEST_F(SubmitBounds, JobsOfASweepShareAPageOnlyWhereTheirWorkIsAlike) {
  Submit submit = request();
  submit.work.kind = "k";
  submit.spec.sweep.grid = {{"run.seed", {"1", "2"}}};
  EXPECT_EQ(answer(submit), "");
  EXPECT_EQ(cluster.job(1).profile, cluster.job(2).profile);
  submit.request_id = "wide";
  submit.spec.sweep.grid = {{"model.width", {"64", "512"}}};
  EXPECT_EQ(answer(submit), "");
  EXPECT_NE(cluster.job(3).profile, cluster.job(4).profile);
  EXPECT_NE(cluster.job(3).profile, cluster.job(1).profile);
}

TEST_F(SubmitBounds, ADeadlineThatIsOverIsRefusedAndAShortBudgetSaid) {
  Submit submit = request();
  submit.spec.deadline = "1970-01-01T00:00:10Z";
  EXPECT_THAT(answer(submit), HasSubstr("job.deadline: expected a time to come, got "));
  submit.spec.deadline.reset();
  submit.spec.energy_budget_joules = 5000;
  submit.work = {1e6, "", {}, 1};
  const auto decisions = cluster.apply(submit);
  EXPECT_THAT(std::get<Accepted>(decisions.front()).why, HasSubstr("its own 5000 J are less than"));
}

TEST_F(SubmitBounds, AStartThatTheTenantCannotPayIsSaidWithItsMoment) {
  cluster.run(1);
  Submit submit = request();
  submit.spec.tenant = "team-a";
  submit.work = {100, "", {}, 1};
  const auto accepted = [&](const char* id) {
    submit.request_id = id;
    return std::get<Accepted>(cluster.apply(submit).front());
  };
  EXPECT_EQ(accepted("rich").start_seconds, cluster.now());
  give_joules("team-a", 0, 86400);
  const Accepted never = accepted("never");
  EXPECT_FALSE(never.start_seconds);
  EXPECT_THAT(never.why, HasSubstr("no period of tenant team-a, each with 0 J, pays a start, which "
                                   "takes 3000 J: it can't start before the budget is raised"));
  give_joules("team-a", 2999, 86400);
  EXPECT_FALSE(accepted("nearly").start_seconds);
  give_joules("team-a", 3500, 86400);
  cluster.run(30);  // one of them has taken some
  give_joules("team-a", 3100, 86400);
  const Accepted later = accepted("later");
  EXPECT_EQ(later.start_seconds, cluster.core.state().joules.period_end_seconds("team-a"));
  EXPECT_THAT(later.why, HasSubstr("its next period begins at 1970-01-02T00:"));
  EXPECT_THAT(cluster.core.explain(later.job), HasSubstr("its next period begins at 1970-01-02T"));
  give_joules("team-a", 100, 86400);
  EXPECT_THAT(cluster.core.explain(later.job), HasSubstr("before the budget is raised"));
}

TEST_F(SubmitBounds, AJobThatCanNeverPayItsStartSaysSo) {
  Submit submit = request();
  FakeCluster empty(options(), 7);
  submit.spec.energy_budget_joules = 200;
  empty.apply(submit);
  empty.add_node("a", {kV100, 1, 60});
  empty.run(10);
  EXPECT_THAT(empty.core.explain(1), HasSubstr("the job has 200 J left, and a start takes 3000 J: "
                                               "it can never start here"));
}

TEST_F(SubmitBounds, AUsersDeadlineLiftsAJobNoFurtherThanItsPriorityCould) {
  const auto weight = [&](const char* id, int priority, std::optional<int64_t> most) {
    Submit submit = request();
    submit.request_id = id;
    submit.spec.tenant = "team-a";
    submit.spec.priority = priority;
    submit.spec.deadline = "1970-01-01T00:20:00Z";
    submit.work = {190, "", {}, 1};
    submit.submitter.most_priority = most;
    const auto& accepted = std::get<Accepted>(cluster.apply(submit).front());
    const State& state = cluster.core.state();
    const Job& job = state.jobs.at(accepted.job);
    ProfileBook profiles = state.profiles;
    return weight_of(state, job, *profiles.options(state.types, job), cluster.now());
  };
  EXPECT_GT(weight("operator", 0, std::nullopt), 7);
  EXPECT_DOUBLE_EQ(weight("user", 0, 10), 2);
  EXPECT_DOUBLE_EQ(weight("user with all", 10, 10), 2);
  EXPECT_DOUBLE_EQ(weight("admin", 10, 30), 8);
}

TEST_F(SubmitBounds, AgingGoesBeyondTheBoundOnlyByDays) {
  Submit submit = request();
  submit.spec.tenant = "team-a";
  submit.spec.priority = 10;
  submit.submitter.most_priority = 10;
  cluster.apply(submit);
  const State& state = cluster.core.state();
  const Job& job = state.jobs.at(1);
  ProfileBook profiles = state.profiles;
  const auto weight_after = [&](double hours) {
    return weight_of(state, job, *profiles.options(state.types, job), cluster.now() + hours * 3600);
  };
  EXPECT_LT(weight_after(9), 3) << "not 20: an admin's priority 30 goes before";
  EXPECT_GT(weight_after(24 * 10), 20) << "but nothing starves";
}

TEST_F(SubmitBounds, UnendedJobsOfAUserAndATenantAreCounted) {
  Submit submit = request();
  submit.spec.tenant = "team-a";
  submit.submitter = {"ada", {}, 3, 4};
  const auto refused = [&](const char* id, const char* user, size_t jobs) {
    submit.request_id = id;
    submit.submitter.user = user;
    submit.spec.sweep = {};
    if (jobs > 1) submit.spec.sweep.list.assign(jobs, {{"run.seed", "1"}});
    for (const Decision& decision : cluster.apply(submit)) {
      if (const auto* no = std::get_if<Refused>(&decision)) {
        EXPECT_TRUE(no->is_exhausted);
        return no->why;
      }
    }
    return std::string();
  };
  EXPECT_EQ(refused("a", "ada", 2), "");
  EXPECT_THAT(refused("b", "ada", 2), HasSubstr("user ada has 2 jobs that have not ended, and at "
                                                "most 3 at a time: 2 more were to come"));
  EXPECT_EQ(refused("c", "ada", 1), "");
  EXPECT_THAT(refused("d", "bob", 2), HasSubstr("tenant team-a has 3 jobs that have not ended"));
  EXPECT_EQ(refused("a", "ada", 2), "") << "the same request is no new one";
  cluster.apply(Cancel{1});
  cluster.run(60);
  EXPECT_EQ(refused("e", "ada", 1), "");
  const auto again = state_from_text(to_text(cluster.core.state()));
  EXPECT_EQ(again->unended_jobs, cluster.core.state().unended_jobs);
}

TEST_F(SubmitBounds, WhatWasLearntOfAKindGoesWithTheLastOfItsJobs) {
  Configured short_memory{"energy", 0, 6, 20, 1000};
  cluster.apply(short_memory);
  for (int number = 0; number < 30; ++number) {
    cluster.submit(fmt::format("job{}", number), 1, 1, 1, [&](Submit& s) {
      s.work.kind = fmt::format("team-a/kind{}", number);
      s.work.units = 1;
    });
  }
  cluster.submit("long", 1, 1, 1e9, [](Submit& s) { s.work.kind = "team-a/kind3"; });
  cluster.run(100);
  EXPECT_THAT(to_text(cluster.core.state()), HasSubstr("kind:team-a/kind7"));
  cluster.run(1500);
  EXPECT_THAT(to_text(cluster.core.state()), Not(HasSubstr("kind:team-a/kind7")));
  EXPECT_THAT(to_text(cluster.core.state()), HasSubstr("kind:team-a/kind3"));
}

TEST_F(SubmitBounds, DependenciesAreCountedOverASweep) {
  const auto sweep_of = [](size_t jobs) {
    Sweep sweep;
    sweep.list.assign(jobs, {{"run.seed", "1"}});
    return sweep;
  };
  cluster.submit("first", 1, 1, 1, [&](Submit& s) { s.spec.sweep = sweep_of(1001); });
  Submit submit = request();
  submit.spec.tenant = "team-a";
  submit.spec.after = {"first", "first[0]", "1"};
  submit.spec.sweep = sweep_of(1000);
  EXPECT_THAT(answer(submit), HasSubstr("each of 1000 jobs would wait for 1001 others"));
  submit.spec.sweep = {};
  EXPECT_EQ(answer(submit), "");
  EXPECT_EQ(cluster.core.state().dependencies.after(1002).size(), 1001u) << "each once";
}

TEST_F(SubmitBounds, DependenciesAreCountedOverAUsersJobs) {
  cluster.submit("first", 1, 1, 1e6, [](Submit& s) {
    s.spec.sweep.list.assign(1000, {{"a", "1"}});
  });
  Submit submit = request();
  submit.spec.tenant = "team-a";
  submit.spec.after = {"first"};
  const auto answer_for = [&](const char* user, size_t jobs) {
    submit.request_id = fmt::format("{} {}", user, jobs);
    submit.submitter.user = user;
    submit.spec.sweep.list.assign(jobs, {{"a", "1"}});
    return answer(submit);
  };
  EXPECT_EQ(answer_for("ada", 600), "");
  EXPECT_THAT(answer_for("ada", 500), HasSubstr("each of 500 jobs would wait for 1000 others, and "
                                                "600000 such pairs are there of this user"));
  EXPECT_EQ(answer_for("bob", 500), "");
  cluster.submit("first", 1, 1, 1e6, [](Submit& s) {
    s.request_id = "another first";
    s.spec.tenant = "team-b";
    s.spec.sweep.list.assign(1000, {{"a", "1"}});
  });
  submit.spec.tenant = "team-b";
  EXPECT_EQ(answer_for("ada", 501), "") << "another tenant's";
  submit.spec.tenant = "team-a";
  cluster.apply(Cancel{1001});
  EXPECT_EQ(answer_for("ada", 401), "");
}

/// 191 KB once filled 2 GB.
TEST_F(SubmitBounds, OneNameGivenOftenIsKeptOnceForASweep) {
  const std::string name(190, 'x');
  cluster.submit(name, 1, 1, 1e6);
  Submit submit = request();
  submit.spec.tenant = "team-a";
  submit.spec.after.assign(1000, "nobody");
  submit.spec.sweep.list.assign(1000, {{"a", "1"}});
  submit.submitter = {"ada", {}, 999, 0};
  EXPECT_THAT(answer(submit), HasSubstr("1000 more were to come")) << "asked before names are";
  submit.submitter.most_user_jobs = 1000;
  submit.spec.after.assign(1000, name);
  EXPECT_EQ(answer(submit), "");
  EXPECT_THAT(cluster.core.state().dependencies.after(1001), ElementsAre(1));
  EXPECT_LT(to_text(cluster.core.state()).size(), 2u << 20);
}

TEST(PlannedCounts, ArePowersOfTwoAndTheEnds) {
  EXPECT_THAT(planned_counts({}, 3, 10), ElementsAre(3, 4, 5, 6, 7, 8, 9, 10));
  EXPECT_THAT(planned_counts({}, 3, 11), ElementsAre(3, 4, 8, 11));
  EXPECT_THAT(planned_counts({}, 1, 64), ElementsAre(1, 2, 4, 8, 16, 32, 64));
  EXPECT_THAT(
      planned_counts({}, 1, 2147483647),
      testing::AllOf(testing::SizeIs(8), testing::Contains(1), testing::Contains(2147483647)));
  EXPECT_THAT(planned_counts({12, 6, 6, 3, 24}, 4, 16), ElementsAre(6, 12));
  EXPECT_THAT(planned_counts({2, 4}, 8, 16), ElementsAre());
}

}  // namespace
}  // namespace wattle::scheduler
