#include "scheduler/core/core.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "common/error.h"
#include "scheduler/core/journal/journal.h"
#include "tests/scheduler/core/fake_cluster.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

const DeviceType kV100{"V100", 25, 100, 250};

/// A cluster of two nodes of four V100s each, with words for what happens in it.
class CoreStory : public testing::Test {
 protected:
  static CoreOptions options(const std::string& policy = "energy", double cap_watts = 2000) {
    CoreOptions options;
    options.cap_watts = cap_watts;
    options.policy = {policy, /*eta=*/0};
    return options;
  }

  explicit CoreStory(const CoreOptions& options = CoreStory::options()) : cluster(options, 7) {
    cluster.keep_journal = true;
    for (const char* name : {"a", "b"}) cluster.add_node(name, {kV100, 4, 60});
  }

  JobState state(JobId id) const { return cluster.job(id).state; }
  Reason reason(JobId id) const { return cluster.job(id).reason; }
  double cap_of_limits() const { return cluster.core.state().ledger.possible_watts(); }
  const scheduler::Run& run_of(JobId id) const { return *cluster.job(id).run; }

  /// Why the newest request was refused; "" if it was not.
  static std::string refusal(const std::vector<Decision>& decisions) {
    for (const Decision& decision : decisions) {
      if (const auto* refused = std::get_if<Refused>(&decision)) return refused->why;
    }
    return "";
  }
  std::vector<Decision> set_cap(double watts) {
    return cluster.apply(CapSet{"cap", watts, CapTier::kHard, {}, {}});
  }
  void give_joules(const std::string& tenant, double joules, double period_seconds) {
    cluster.apply(BudgetSet{tenant, joules, period_seconds, 1});
  }

  FakeCluster cluster;
};

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

TEST_F(CoreStory, ALowerCapIsMetWithinTenSecondsByLimitsFirst) {
  std::vector<JobId> jobs;
  for (int i = 0; i < 8; ++i) jobs.push_back(cluster.submit(fmt::format("j{}", i), 1, 1, 1e6));
  cluster.run(20);
  EXPECT_GT(cap_of_limits(), 1500);
  set_cap(900);
  cluster.run(10);
  EXPECT_LE(cap_of_limits(), 900);
  for (JobId job : jobs) EXPECT_EQ(state(job), JobState::kRunning) << "limits come before stops";
}

TEST_F(CoreStory, ShrinksBeforeItStops) {
  const JobId wide = cluster.submit("wide", 1, 4, 1e6);
  const JobId other = cluster.submit("other", 1, 4, 1e6);
  cluster.run(20);
  EXPECT_EQ(run_of(wide).point.ranks + run_of(other).point.ranks, 8);
  set_cap(8 * 25 + 5 * 75);  // five devices at the lowest limit
  cluster.run(20);
  EXPECT_EQ(state(wide), JobState::kRunning);
  EXPECT_EQ(state(other), JobState::kRunning);
  EXPECT_LE(run_of(wide).point.ranks + run_of(other).point.ranks, 5);
}

TEST_F(CoreStory, StopsTheLeastValuableWhenNothingElseHelps) {
  const JobId low = cluster.submit("low", 4, 4, 1e6);
  const JobId high = cluster.submit("high", 4, 4, 1e6, [](Submit& s) { s.spec.priority = 20; });
  cluster.run(20);
  set_cap(8 * 25 + 4 * 75);
  cluster.run(20);
  EXPECT_EQ(state(high), JobState::kRunning);
  EXPECT_EQ(state(low), JobState::kPreempted);
  EXPECT_EQ(reason(low), Reason::kPowerCap);
  set_cap(2000);
  cluster.run(40);
  EXPECT_EQ(state(low), JobState::kRunning);
}

TEST_F(CoreStory, ACapWindowThatIsKnownIsMetBeforeItBegins) {
  for (int i = 0; i < 8; ++i) cluster.submit(fmt::format("j{}", i), 1, 1, 1e6);
  cluster.run(20);
  const double from = cluster.now() + 60;
  cluster.apply(CapSet{"night", 900, CapTier::kHard, from, from + 60});
  cluster.run(30);
  EXPECT_GT(cap_of_limits(), 1500) << "not before it is needed";
  cluster.run(30.5);
  EXPECT_LE(cap_of_limits(), 900);
  cluster.run(70);
  EXPECT_GT(cap_of_limits(), 1500) << "and given back when the window is over";
}

TEST_F(CoreStory, RefusesACapBelowWhatMustRunWithTheNumberThatWorks) {
  EXPECT_THAT(refusal(set_cap(150)), HasSubstr("below the 200 W"));
  EXPECT_EQ(refusal(set_cap(200)), "");
}

TEST_F(CoreStory, ANodeOutOfReachMayComeBackUnderALowCap) {
  set_cap(300);  // idle devices draw 200 W; out of reach, node a counts for 240 W instead of 100 W
  const JobId job = cluster.submit("train", 1, 1, 1e6);
  cluster.run(10);
  cluster.cut_off("a");
  cluster.run(15);  // its lease is over, its runs may go on
  EXPECT_NE(cluster.submit("more", 1, 1, 1e6), 0) << "it fits when the node is back";
  cluster.reconnect("a");
  cluster.run(10);
  for (const Node& node : cluster.core.state().nodes) EXPECT_EQ(node.state, NodeState::kUp);
  EXPECT_EQ(state(job), JobState::kRunning);
}

TEST_F(CoreStory, ANodeThatIsDownHoldsNoMoreThanIdleWatts) {
  set_cap(300);
  const JobId job = cluster.submit("train", 1, 1, 1e6);
  cluster.run(10);
  const auto share = run_of(job).shares.front();
  const std::string node = cluster.core.state().nodes[static_cast<size_t>(share.node)].name;
  cluster.power_off(node);
  cluster.run(60);
  // At its safe limit of 60 W the device would leave 65 W above idle: too little.
  EXPECT_EQ(state(job), JobState::kRunning) << "on the other node, with the watts of the first";
  EXPECT_LE(cap_of_limits(), 300);
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

TEST_F(CoreStory, AJobWhoseDependencyFailsNeverRuns) {
  const JobId first = cluster.submit("first", 1, 1, 100);
  const JobId next = cluster.submit("next", 1, 1, 5, [](Submit& s) { s.spec.after = {"first"}; });
  cluster.run(5);
  cluster.apply(Cancel{first});
  cluster.run(10);
  EXPECT_EQ(state(first), JobState::kCancelled);
  EXPECT_EQ(reason(next), Reason::kDependencyNeverSatisfied);
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

TEST_F(CoreStory, ALostNodesJobRunsAgainOnlyWhenItHasSurelyEnded) {
  const JobId job = cluster.submit("train", 4, 4, 1e6);
  cluster.run(5);
  const std::string node = cluster.core.state().nodes[run_of(job).shares.front().node].name;
  const Token before = run_of(job).token;
  cluster.cut_off(node);
  cluster.run(15);
  ASSERT_TRUE(cluster.job(job).run) << "the node may still run it";
  EXPECT_EQ(run_of(job).token, before);
  cluster.run(30);
  ASSERT_EQ(state(job), JobState::kRunning);
  EXPECT_NE(run_of(job).token, before);
  EXPECT_EQ(cluster.live_runs(job), 1);
}

TEST_F(CoreStory, AnAgentThatComesBackInTimeKeepsItsJob) {
  const JobId job = cluster.submit("train", 4, 4, 1e6);
  cluster.run(5);
  const Token before = run_of(job).token;
  const std::string node = cluster.core.state().nodes[run_of(job).shares.front().node].name;
  cluster.cut_off(node);
  cluster.run(4);
  cluster.reconnect(node);
  cluster.run(30);
  EXPECT_EQ(run_of(job).token, before);
  EXPECT_EQ(cluster.job(job).node_failures, 0);
}

TEST_F(CoreStory, WhenTheFirstNodesShareEndsTheOthersAreKilled) {
  const JobId job = cluster.submit("wide", 8, 8, 1e6);
  cluster.run(5);
  const scheduler::Run run = run_of(job);
  ASSERT_EQ(run.shares.size(), 2u);
  const std::string first = cluster.core.state().nodes[run.shares[0].node].name;
  const std::string other = cluster.core.state().nodes[run.shares[1].node].name;
  std::vector<std::pair<std::string, Token>> killed;
  for (const Decision& decision : cluster.apply(JobExited{first, 1, run.token, 9, 100})) {
    if (const auto* kill = std::get_if<Kill>(&decision))
      killed.emplace_back(kill->node, kill->token);
  }
  EXPECT_THAT(killed, testing::ElementsAre(std::pair(other, run.token)));
  EXPECT_EQ(state(job), JobState::kRunning) << "its other share may still run";
  cluster.run(1);
  EXPECT_EQ(state(job), JobState::kFailed);
  EXPECT_EQ(cluster.job(job).exit_code, 9) << "the first node's, not that of the kill";
}

TEST_F(CoreStory, AShareThatIsNotTheFirstEndsAlone) {
  const JobId job = cluster.submit("wide", 8, 8, 1e6);
  cluster.run(5);
  const scheduler::Run run = run_of(job);
  const std::string other = cluster.core.state().nodes[run.shares[1].node].name;
  for (const Decision& decision : cluster.apply(JobExited{other, 1, run.token, 0, 100})) {
    EXPECT_FALSE(std::holds_alternative<Kill>(decision));
  }
  EXPECT_EQ(state(job), JobState::kRunning);
}

TEST_F(CoreStory, ADrainedNodeFinishesWhatItHasAndTakesNoMore) {
  const JobId first = cluster.submit("first", 4, 4, 60);
  cluster.run(5);
  const NodeId node = run_of(first).shares.front().node;
  cluster.apply(Drain{cluster.core.state().nodes[node].name, true});
  const JobId second = cluster.submit("second", 4, 4, 30);
  const JobId third = cluster.submit("third", 4, 4, 30);
  ASSERT_TRUE(cluster.run_until_idle(300));
  for (JobId job : {first, second, third}) EXPECT_EQ(state(job), JobState::kCompleted);
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

TEST_F(CoreStory, ASoftCapLendsOutWhatIsNotDrawn) {
  // The first four jobs draw little whatever their limit, the others all that they may.
  cluster.draw = [](JobId job, double limit) { return job <= 4 ? 60 : 0.95 * limit; };
  for (int i = 0; i < 8; ++i) cluster.submit(fmt::format("j{}", i), 1, 1, 1e6);
  cluster.apply(CapSet{"soft", 1000, CapTier::kSoft, {}, {}});
  cluster.run(3);
  EXPECT_LE(cap_of_limits(), 1000);
  cluster.run(200);
  EXPECT_GT(cap_of_limits(), 1000) << "the limits exceed it";
  double drawn = 0;
  for (JobId job = 1; job <= 8; ++job) drawn += cluster.draw(job, run_of(job).issued_watts);
  EXPECT_LE(drawn, 1000) << "what is drawn does not";
}

TEST_F(CoreStory, TheJournalReplaysToTheSameBytes) {
  for (int i = 0; i < 12; ++i) {
    cluster.submit(fmt::format("j{}", i), 1, 1 + i % 4, 40 + i, [&](Submit& s) {
      s.spec.priority = i % 3;
      s.work.kind = i % 2 ? "even \"quoted\" \xff" : "";
    });
  }
  cluster.run(30);
  set_cap(700);
  cluster.cut_off("a");
  cluster.run(60);
  cluster.reconnect("a");
  give_joules("team-a", 1e6, 1000);
  cluster.apply(Cancel{3});
  ASSERT_TRUE(cluster.run_until_idle(3000));

  Core again(options());
  std::vector<std::string> decisions;
  for (const std::string& line : cluster.event_lines) {
    const Event event = event_from_line(line);
    EXPECT_EQ(to_line(event), line);
    for (const Decision& decision : again.apply(event)) decisions.push_back(to_line(decision));
  }
  ASSERT_GT(decisions.size(), 100u);
  EXPECT_EQ(decisions, cluster.decision_lines);
  for (const std::string& line : decisions) EXPECT_EQ(to_line(decision_from_line(line)), line);
}

TEST(Journal, NamesWhatIsWrongWithALine) {
  auto error = [](const std::string& line) {
    try {
      event_from_line(line);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(error("{"), HasSubstr("is no JSON object"));
  EXPECT_THAT(error("{\"event\":\"tick\"}"), HasSubstr("time_seconds: is missing"));
  EXPECT_THAT(error("{\"event\":\"tock\",\"time_seconds\":1}"),
              HasSubstr("unknown value \"tock\""));
  EXPECT_THAT(error("{\"event\":\"cancel\",\"time_seconds\":1}"),
              HasSubstr("cancel.job: is missing"));
  EXPECT_THAT(error("{\"event\":\"cancel\",\"job\":\"x\",\"time_seconds\":1}"),
              HasSubstr("has the wrong type"));
  EXPECT_THAT(error("{\"event\":\"tick\",\"extra\":1,\"time_seconds\":1}"),
              HasSubstr("unknown keys"));
}

}  // namespace
}  // namespace wattle::scheduler
