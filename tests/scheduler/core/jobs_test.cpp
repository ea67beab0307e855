#include "common/error.h"
#include "scheduler/core/core.h"
#include "scheduler/core/engine/weight.h"
#include "scheduler/core/journal/state_text.h"
#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST_F(CoreStory, NewJobsBehindALongQueueDoNotPlanEveryTick) {
  constexpr int kQueue = 3000;
  for (int i = 0; i < kQueue; ++i) cluster.submit(fmt::format("job{}", i), 8, 8, 1e6);
  cluster.run(1.5);
  const State& now = cluster.core.state();
  ASSERT_EQ(now.running.size(), 1);
  const double planned = now.planned_seconds;
  const JobId late = cluster.submit("late", 8, 8, 1e6);
  cluster.run(1);
  EXPECT_EQ(now.planned_seconds, planned);
  cluster.run(kQueue / 1000);
  EXPECT_GT(now.planned_seconds, planned);
  EXPECT_NE(reason(late), Reason::kNone);
  // What frees devices is planned at the next tick.
  cluster.apply(Cancel{*now.running.begin()});
  cluster.run(2 + cluster.checkpoint_seconds);
  EXPECT_EQ(now.running.size(), 1);
}

TEST_F(CoreStory, AJobRunsToItsEnd) {
  const JobId job = cluster.submit("train", 1, 1, 30);
  EXPECT_EQ(state(job), JobState::kPending);
  cluster.run(3);
  EXPECT_EQ(state(job), JobState::kRunning);
  ASSERT_TRUE(cluster.run_until_idle(100));
  EXPECT_EQ(state(job), JobState::kCompleted);
  EXPECT_DOUBLE_EQ(cap_of_limits(), 8 * 25);
}

TEST_F(CoreStory, RefusesAJobThatCanNeverFitAndSaysWhy) {
  Submit submit;
  submit.request_id = "r";
  submit.spec.ranks = {9, 16};
  EXPECT_THAT(refusal(cluster.apply(submit)), HasSubstr("at least 9 devices of one type"));
  submit.spec.ranks = {8, 8};
  submit.work.rank_counts = {4, 16};
  EXPECT_THAT(refusal(cluster.apply(submit)), HasSubstr("none of the feasible counts (4, 16)"));
  submit.work.rank_counts.clear();
  set_cap(500);
  EXPECT_THAT(refusal(cluster.apply(submit)), HasSubstr("600 W on V100"));
  submit.spec.after = {"nobody"};
  EXPECT_THAT(refusal(cluster.apply(submit)), HasSubstr("has no job 'nobody'"));
}

TEST_F(CoreStory, SaysAtSubmitWhatAJobWillUseAndWhenItCanStart) {
  cluster.submit("first", 8, 8, 1000);
  cluster.run(30);
  Submit submit;
  submit.request_id = "r";
  submit.name = "second";
  submit.spec.ranks = {8, 8};
  submit.work = {500, "", {}, 1};
  const auto decisions = cluster.apply(submit);
  const auto& accepted = std::get<Accepted>(decisions.front());
  EXPECT_GT(accepted.watts, 800);
  ASSERT_TRUE(accepted.run_seconds && accepted.joules && accepted.start_seconds);
  EXPECT_NEAR(*accepted.joules, accepted.watts * *accepted.run_seconds, 1);
  EXPECT_GT(*accepted.start_seconds, cluster.now() + 50) << "after the first is done";
}

TEST_F(CoreStory, TheSameRequestTwiceIsOneJob) {
  Submit submit;
  submit.request_id = "once";
  cluster.apply(submit);
  cluster.apply(submit);
  EXPECT_EQ(cluster.core.state().jobs.size(), 1u);
}

TEST_F(CoreStory, ASweepMakesOneJobOfEachCombination) {
  cluster.submit("sweep", 1, 1, 5, [](Submit& s) {
    s.spec.sweep.grid = {{"optimizer.lr", {"1e-3", "3e-4"}}, {"model.width", {"64", "128"}}};
  });
  ASSERT_EQ(cluster.core.state().jobs.size(), 4u);
  EXPECT_THAT(cluster.job(2).request.overrides,
              testing::ElementsAre("optimizer.lr=1e-3", "model.width=128"));
  const JobId last = cluster.submit("report", 1, 1, 5, [](Submit& s) { s.spec.after = {"sweep"}; });
  cluster.run(2);
  EXPECT_EQ(reason(last), Reason::kDependency);
  ASSERT_TRUE(cluster.run_until_idle(200));
  EXPECT_EQ(state(last), JobState::kCompleted);
}

TEST_F(CoreStory, EachPointOfASweepHasItsOwnWork) {
  Submit submit;
  submit.request_id = submit.name = "sweep";
  submit.spec.sweep.grid = {{"train.steps", {"50", "200"}}};
  submit.work = {50, "", {}, 1};
  submit.point_work = {{50, "", {}, 1}};
  EXPECT_THAT(refusal(cluster.apply(submit)),
              HasSubstr("point_work: expected one for each of 2 jobs of the sweep, got 1"));
  submit.point_work.push_back({-1, "", {}, 1});
  EXPECT_THAT(refusal(cluster.apply(submit)), HasSubstr("work.units: expected 0 to 1e+15, got -1"));
  submit.point_work.back() = {200, "", {}, 1};
  const auto decisions = cluster.apply(submit);
  const auto& first = std::get<Accepted>(decisions.at(0));
  const auto& second = std::get<Accepted>(decisions.at(1));
  ASSERT_TRUE(first.run_seconds && second.run_seconds);
  EXPECT_NEAR(*second.run_seconds, 4 * *first.run_seconds, 1e-6);
  EXPECT_EQ(cluster.job(second.job).request.work.units, 200);
}

TEST_F(CoreStory, AJobWhoseDependencyFailsNeverRuns) {
  const JobId first = cluster.submit("first", 1, 1, 100);
  const JobId next = cluster.submit("next", 1, 1, 5, [](Submit& s) { s.spec.after = {"first"}; });
  cluster.run(5);
  cluster.apply(Cancel{first});
  cluster.run(10);
  EXPECT_EQ(state(first), JobState::kCancelled);
  EXPECT_EQ(reason(next), Reason::kDependencyNeverSatisfied);
}

TEST_F(CoreStory, NamesTheDependencyThatIsNeverSatisfied) {
  const JobId goes_on = cluster.submit("goes-on", 1, 1, 1e6);
  const JobId cancelled = cluster.submit("cancelled", 1, 1, 1e6);
  const JobId next = cluster.submit("next", 1, 1, 5, [](Submit& s) {
    s.spec.after = {"goes-on", "cancelled"};
  });
  cluster.run(5);
  EXPECT_EQ(cluster.job(next).explanation, fmt::format("waits for job {} (PENDING)", goes_on));
  cluster.apply(Cancel{cancelled});
  cluster.run(5);
  EXPECT_EQ(reason(next), Reason::kDependencyNeverSatisfied);
  EXPECT_EQ(cluster.job(next).explanation, fmt::format("waits for job {} (CANCELLED)", cancelled));
}

TEST_F(CoreStory, JobsThatEndedLongAgoAreForgotten) {
  cluster.apply(Configured{"energy", 0, 6, 20, /*history_seconds=*/600});
  const JobId old = cluster.submit("old", 1, 1, 30);
  const JobId failed = cluster.submit("failed", 1, 1, 500);
  cluster.submit("next", 1, 1, 5, [](Submit& s) { s.spec.after = {"failed"}; });
  cluster.run(5);
  cluster.apply(Cancel{failed});
  cluster.run(500);
  const JobId young = cluster.submit("young", 1, 1, 5);
  cluster.run(200);
  const State& now = cluster.core.state();
  EXPECT_FALSE(now.jobs.contains(old));
  EXPECT_FALSE(now.history.contains(old) || now.acceptances.contains(old));
  EXPECT_FALSE(now.jobs_by_name.contains({now.jobs.at(young).request.tenant, "old"}));
  EXPECT_TRUE(now.jobs.contains(young)) << "it has just ended";
  EXPECT_TRUE(now.jobs.contains(failed)) << "a job waits for it";
  EXPECT_EQ(now.owner_of_token.size(), 2u);
  EXPECT_THROW(cluster.core.explain(old), Error);
  EXPECT_GT(cluster.submit("again", 1, 1, 5), young) << "numbers are not given twice";
}

TEST_F(CoreStory, OtherTenantsJobsAreNoDependencies) {
  cluster.submit("secret", 1, 1, 100);
  Submit submit;
  submit.request_id = "r";
  submit.spec.tenant = "team-b";
  submit.spec.after = {"1"};
  EXPECT_THAT(refusal(cluster.apply(submit)), HasSubstr("tenant team-b has no job '1'"));
}

TEST_F(CoreStory, ATenantsJoulesAreNeverExceededByMoreThanACheckpoint) {
  give_joules("team-a", 20000, 3600);
  const JobId job = cluster.submit("train", 2, 2, 1e6);
  cluster.run(300);
  EXPECT_EQ(state(job), JobState::kPreempted);
  EXPECT_EQ(reason(job), Reason::kEnergyBudget);
  const double spent = cluster.core.state().joules.tenant_spent("team-a");
  EXPECT_GT(spent, 0.8 * 20000);
  EXPECT_LE(spent, 20000 + 2 * 250 * (1 + cluster.checkpoint_seconds));
  cluster.run(3600);
  EXPECT_GT(cluster.core.state().joules.tenant_spent("team-a"), 0) << "a new period, it goes on";
  EXPECT_EQ(cluster.job(job).node_failures, 0);
}

TEST_F(CoreStory, AJobThatHasSpentItsOwnJoulesEnds) {
  const JobId job =
      cluster.submit("train", 1, 1, 1e6, [](Submit& s) { s.spec.energy_budget_joules = 8000; });
  cluster.run(300);
  EXPECT_EQ(state(job), JobState::kTimeout);
  EXPECT_EQ(reason(job), Reason::kEnergyBudget);
}

TEST_F(CoreStory, ABudgetThatIsSetAgainStaysSpentAndKeepsItsWeight) {
  cluster.apply(BudgetSet{"team-a", 1e6, 3600, 3});
  cluster.submit("train", 1, 1, 1e6);
  cluster.run(60);
  const State& now = cluster.core.state();
  const double spent = now.joules.tenant_spent("team-a"),
               end = now.joules.period_end_seconds("team-a");
  ASSERT_GT(spent, 1000);
  cluster.apply(BudgetSet{"team-a", 2e6});
  EXPECT_EQ(now.joules.tenant_spent("team-a"), spent);
  EXPECT_EQ(now.joules.period_end_seconds("team-a"), end);
  EXPECT_EQ(now.tenants.at("team-a").weight, 3);
  EXPECT_THAT(refusal(cluster.apply(BudgetSet{"team-a", 2e6, -1})), HasSubstr("got -1"));
  EXPECT_THAT(refusal(cluster.apply(BudgetSet{"", 2e6})), HasSubstr("1 to 200 bytes"));
}

TEST_F(CoreStory, ABudgetThatNoStartCanBePaidFromIsRefused) {
  Submit submit;
  submit.request_id = "r";
  submit.spec.energy_budget_joules = 200;
  EXPECT_THAT(refusal(cluster.apply(submit)), HasSubstr("200 J are less than the 3000 J"));
  submit.spec.energy_budget_joules = 5000;
  submit.work = {1e6, "", {}, 1};
  const auto decisions = cluster.apply(submit);
  EXPECT_THAT(std::get<Accepted>(decisions.front()).why, HasSubstr("its own 5000 J are less than"));
}

TEST_F(CoreStory, StartsOfOneRoundDoNotCountOnTheSameJoules) {
  give_joules("team-a", 4000, 1e6);
  cluster.submit("one", 1, 1, 1e6);
  cluster.submit("two", 1, 1, 1e6);
  cluster.run(600);
  const State& now = cluster.core.state();
  EXPECT_EQ(now.last_token, 1) << "one of them has run, once";
  EXPECT_LE(now.joules.tenant_spent("team-a"), 4000 + 2 * 250);
  for (JobId job : {1, 2}) EXPECT_EQ(reason(job), Reason::kEnergyBudget);
}

TEST_F(CoreStory, AJobThatStopsOfItselfWithoutProgressRestsLongerEachTime) {
  cluster.speed = [](JobId, int, double) { return 0; };
  const JobId job = cluster.submit("train", 1, 1, 1e6);
  for (int second = 0; second < 600; ++second) {
    cluster.run(1);
    if (!cluster.job(job).run) continue;
    const auto run = run_of(job);
    const std::string node = cluster.core.state().nodes[run.shares.front().node].name;
    cluster.apply(JobExited{node, 1, run.token, 75, 100});
  }
  EXPECT_LE(cluster.core.state().last_token, 7) << "after 10, 20, 40, ... s";
  EXPECT_GE(cluster.core.state().last_token, 5);
  EXPECT_THAT(cluster.core.explain(job), HasSubstr("runs in a row without progress: rests for"));
}

TEST_F(CoreStory, ADeadlineThatComesNearWeighsMore) {
  const auto with_deadline = [](const char* text) {
    return [text](Submit& s) { s.spec.deadline = text; };
  };
  const JobId calm = cluster.submit("calm", 8, 8, 1000);
  const JobId far = cluster.submit("far", 8, 8, 1000, with_deadline("1971-01-01T00:00:00Z"));
  const JobId near = cluster.submit("near", 8, 8, 1000, with_deadline("1970-01-01T00:25:00Z"));
  const JobId late = cluster.submit("late", 8, 8, 1e6, with_deadline("1970-01-01T00:25:00Z"));
  const auto weight = [&](JobId id) {
    State state = cluster.core.state();
    const Job& job = state.jobs.at(id);
    return weight_of(state, job, *state.profiles.options(state.types, job), cluster.now());
  };
  EXPECT_GT(weight(near), 1.5 * weight(calm));
  EXPECT_NEAR(weight(far), weight(calm), 0.01 * weight(calm));
  EXPECT_EQ(weight(late), weight(calm)) << "it can't be met any more";
  cluster.run(30);
  EXPECT_EQ(state(near), JobState::kRunning);
}

TEST_F(CoreStory, ALongWaitOutweighsPriority) {
  cluster.submit("eternal", 8, 8, 1e7, [](Submit& s) { s.spec.priority = 5; });
  const JobId patient = cluster.submit("patient", 8, 8, 100);
  cluster.run(20);
  EXPECT_EQ(state(patient), JobState::kPending);
  cluster.run(12 * 3600);
  EXPECT_EQ(state(patient), JobState::kCompleted);
}

TEST_F(CoreStory, ExplainsWhereAJobIs) {
  cluster.submit("first", 8, 8, 1e6);
  cluster.run(5);
  const JobId second = cluster.submit("second", 8, 8, 10);
  cluster.run(5);
  const std::string text = cluster.core.explain(second);
  EXPECT_THAT(text, HasSubstr("job 2 (second) of team-a: PENDING (Resources)"));
  EXPECT_THAT(text, HasSubstr("accepted: alone it would run on 8 of V100"));
  EXPECT_THROW(cluster.core.explain(99), Error);
}

TEST_F(CoreStory, ExplainsWhyARunEndedAndWhyTheJobDoesNotGoOn) {
  const JobId job = cluster.submit("wide", 8, 8, 1e6);
  cluster.run(5);
  cluster.power_off("a");
  cluster.run(60);
  ASSERT_EQ(state(job), JobState::kPreempted);
  const auto first_line = [](const std::string& text) { return text.substr(0, text.find('\n')); };
  const std::string text = first_line(cluster.core.explain(job));
  EXPECT_THAT(text,
              HasSubstr("PREEMPTED (ReqNodeNotAvail): no type of device has 8 in service now"));
  EXPECT_THAT(text, HasSubstr("; its last run ended at 1970-01-01T00:1"));
  EXPECT_THAT(text, HasSubstr("(NodeDown): lost a node; goes on from its checkpoint"));
  EXPECT_EQ(Core(state_from_text(to_text(cluster.core.state()))).explain(job),
            cluster.core.explain(job));
  cluster.reconnect("a");
  cluster.run(60);
  ASSERT_EQ(state(job), JobState::kRunning);
  EXPECT_THAT(first_line(cluster.core.explain(job)), Not(HasSubstr("its last run")));
}

TEST_F(CoreStory, SaysWhatACancelledJobWasDoing) {
  const JobId before = cluster.submit("before", 8, 8, 1e6);
  cluster.apply(Cancel{before});
  EXPECT_EQ(cluster.job(before).explanation, "cancelled before it ran");
  const JobId lost = cluster.submit("lost", 8, 8, 1e6);
  cluster.run(5);
  cluster.power_off("a");
  cluster.run(60);
  cluster.apply(Cancel{lost});
  EXPECT_EQ(cluster.job(lost).explanation, "cancelled while it waited to go on");
  cluster.start_fault = "no space left";
  const JobId unable = cluster.submit("unable", 1, 1, 1e6);
  cluster.run(5);
  ASSERT_EQ(state(unable), JobState::kPending);
  cluster.apply(Cancel{unable});
  EXPECT_EQ(cluster.job(unable).explanation, "cancelled while it waited for another try");
}

TEST_F(CoreStory, AJobRunsOnSeveralNodesOnlyWhereTheyShareAFolder) {
  const auto register_again = [&](bool shares_jobs_dir) {
    cluster.shares_jobs_dir = shares_jobs_dir;
    for (const char* name : {"a", "b"}) cluster.cut_off(name), cluster.reconnect(name);
  };
  register_again(false);
  Submit submit;
  submit.request_id = "wide";
  submit.spec.ranks = {5, 8};
  EXPECT_THAT(refusal(cluster.apply(submit)),
              HasSubstr("4 of V100 on nodes that share a jobs_dir"));
  const JobId narrow = cluster.submit("narrow", 3, 3, 1e6);
  const JobId elastic = cluster.submit("elastic", 1, 8, 1e6);
  const JobId pair = cluster.submit("pair", 2, 2, 1e6);
  cluster.run(120);
  for (const JobId job : {narrow, elastic, pair}) {
    if (state(job) == JobState::kRunning) {
      EXPECT_EQ(run_of(job).shares.size(), 1u) << job;
    }
  }
  EXPECT_EQ(state(narrow), JobState::kRunning);
  register_again(true);
  submit.request_id = "wide again";
  EXPECT_EQ(refusal(cluster.apply(submit)), "");
}

}  // namespace
}  // namespace wattle::scheduler
