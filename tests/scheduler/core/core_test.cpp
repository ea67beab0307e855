#include "scheduler/core/core.h"

#include <algorithm>

#include "common/error.h"
#include "scheduler/core/journal/journal.h"
#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

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

TEST_F(CoreStory, ALowerCapDoesNotWaitForALongCheckpoint) {
  cluster.checkpoint_seconds = 60;
  std::vector<JobId> jobs;
  for (int i = 0; i < 8; ++i) jobs.push_back(cluster.submit(fmt::format("j{}", i), 1, 1, 1e6));
  cluster.run(20);
  set_cap(8 * 25 + 2 * 75 + 10);  // two devices at the lowest limit
  cluster.run(5);
  EXPECT_GT(cap_of_limits(), 360) << "their checkpoints are waited for";
  cluster.run(5);
  EXPECT_LE(cap_of_limits(), 360);
  EXPECT_LE(cluster.in_force_watts(), 360);
  const auto runs =
      std::ranges::count(jobs, JobState::kRunning, [&](JobId id) { return state(id); });
  EXPECT_EQ(runs, 2) << "no more are killed than must be";
  const JobId killed =
      *std::ranges::find(jobs, JobState::kPreempted, [&](JobId id) { return state(id); });
  EXPECT_THAT(cluster.core.explain(killed), HasSubstr("could not wait for its checkpoint"));
}

TEST_F(CoreStory, ALowerCapDoesNotWaitForALimitThatIsNeverTaken) {
  std::vector<JobId> jobs;
  for (int i = 0; i < 8; ++i) jobs.push_back(cluster.submit(fmt::format("j{}", i), 1, 1, 1e6));
  cluster.run(20);
  cluster.deaf = {jobs[2]};
  set_cap(900);
  cluster.run(5);
  EXPECT_GT(cap_of_limits(), 900) << "it may still be on its way";
  EXPECT_EQ(state(jobs[2]), JobState::kRunning);
  cluster.run(5);
  EXPECT_LE(cap_of_limits(), 900);
  EXPECT_LE(cluster.in_force_watts(), 900);
  EXPECT_THAT(cluster.core.explain(jobs[2]), HasSubstr("has not lowered its limit for the cap"));
  for (JobId job : jobs) {
    if (job == jobs[2]) continue;
    EXPECT_EQ(state(job), JobState::kRunning) << "the others took theirs";
  }
}

TEST_F(CoreStory, AfterARestartLeasesCountAnewWhateverTheClockSays) {
  const JobId job = cluster.submit("train", 1, 1, 1e6);
  cluster.run(5);
  cluster.cut_off("a");
  cluster.cut_off("b");
  cluster.run(1);
  const double jump = cluster.now() + 1000;
  cluster.core.apply({jump, Restarted{}});
  cluster.core.apply({jump + 10, Tick{}});
  EXPECT_EQ(state(job), JobState::kRunning) << "its agent may hold it still";
  cluster.core.apply({jump + 30, Tick{}});
  EXPECT_EQ(state(job), JobState::kPreempted);
}

/// The daemon's clock may run 1 % fast, the agent's does not.
TEST_F(CoreStory, ALongLeaseEndsNoEarlierThanAnyClockSays) {
  cluster.apply(Configured{"energy", 0, 3600, 86400, 90 * 86400.0});
  for (const char* name : {"a", "b"}) cluster.cut_off(name), cluster.reconnect(name);
  const JobId job = cluster.submit("train", 1, 1, 1e9);
  cluster.run(5);
  const Node& node = cluster.core.state().nodes[run_of(job).shares.front().node];
  const double lost = cluster.now();
  const Token token = run_of(job).token;
  cluster.core.apply({lost, NodeLost{node.name, node.epoch}});
  cluster.core.apply({lost + 3600 * 1.01, Tick{}});
  EXPECT_FALSE(node.fell_safe);
  cluster.core.apply({lost + 90000 * 1.01, Tick{}});
  ASSERT_TRUE(cluster.job(job).run);
  EXPECT_EQ(run_of(job).token, token) << "its agent may hold it still";
  cluster.core.apply({lost + 90000 * 1.013, Tick{}});
  EXPECT_EQ(node.state, NodeState::kDown);
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

TEST_F(CoreStory, TheNumberThatARefusalOfACapNamesWorks) {
  for (const double idle : {25.04, 12.349}) {
    cluster.cut_off("a");
    cluster.measure_idle("a", idle);
    cluster.reconnect("a");
    cluster.run(5);
    const std::string wrong = refusal(set_cap(1));
    const std::string below = "is below the ";
    const double named = std::stod(wrong.substr(wrong.find(below) + below.size()));
    EXPECT_NEAR(named, 4 * idle + 4 * 25, 0.2) << wrong;
    EXPECT_EQ(refusal(set_cap(named)), "");
    set_cap(2000);
  }
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

/// Others could not use its devices: nothing starts there.
TEST_F(CoreStory, NothingOnADrainedNodeIsStoppedForOthers) {
  set_cap(900);  // for five at full power
  const JobId first = cluster.submit("first", 2, 4, 1e5);
  cluster.run(5);
  const Token token = run_of(first).token;
  cluster.apply(Drain{"a", true});
  cluster.apply(Drain{"b", true});
  const JobId second = cluster.submit("second", 2, 2, 30, [](Submit& s) {
    s.submitter.most_priority = 1000;
    s.spec.priority = 1000;
  });
  cluster.run(300);
  ASSERT_EQ(state(first), JobState::kRunning) << cluster.core.explain(first);
  EXPECT_EQ(run_of(first).token, token);
  EXPECT_EQ(state(second), JobState::kPending);
  // The cap holds there as anywhere: limits first, then it is stopped.
  set_cap(620);
  cluster.run(20);
  EXPECT_LE(cap_of_limits(), 620);
  EXPECT_EQ(run_of(first).token, token);
  set_cap(300);
  cluster.run(20);
  EXPECT_EQ(state(first), JobState::kPreempted) << cluster.core.explain(first);
}

/// Lowest limits of processors are seldom whole watts, and idle ones are measured.
TEST(CoreStories, AStartThatFitsExactlyIsMade) {
  for (const auto& [idle, lowest, ranks, cap] :
       {std::tuple(5.0, 8.3, 1, 8.5), {21.987, 100.0, 3, 300.0}, {5.0, 8.3, 2, 16.6}}) {
    CoreOptions options;
    options.cap_watts = cap;
    FakeCluster cluster(options, 7);
    cluster.add_node("a", {{"cpu", idle, lowest, 2 * lowest}, ranks, lowest});
    const JobId job = cluster.submit("train", ranks, ranks, 1e6);
    cluster.run(5);
    EXPECT_EQ(cluster.job(job).state, JobState::kRunning) << cap << cluster.core.explain(job);
    EXPECT_LE(cluster.core.state().ledger.possible_watts(), cap);
  }
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

TEST(Journal, ReadsLinesOfOlderVersions) {
  const auto event = [](const std::string& fields) {
    return event_from_line("{\"time_seconds\":1,\"event\":" + fields + "}").body;
  };
  EXPECT_FALSE(std::get<NodeRemoved>(event("\"node_removed\",\"node\":\"a\"")).force);
  const auto up =
      std::get<NodeUp>(event("\"node_up\",\"node\":\"a\",\"epoch\":1,\"groups\":[],\"runs\":[],"
                             "\"shares_jobs_dir\":false"));
  EXPECT_EQ(up.work_dir_id + up.boot_id, "");
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

/// Its agents have seen all that the newer state gave.
TEST(CoreNumbers, OfAnOlderCopyOfTheStateLieBeyondThoseOfTheNewer) {
  CoreOptions options;
  options.cap_watts = 1000;
  Core newer(options), older(options);
  newer.apply({1.8e9, Restarted{}});
  older.apply({1.8e9 + 60, Restarted{}});
  EXPECT_GT(older.state().last_token, newer.state().last_token + 50000);
  State first = newer.state(), second = older.state();
  std::vector<DeviceId> device;
  for (State* state : {&first, &second}) device = {state->ledger.add(25, 60)};
  EXPECT_GT(second.ledger.issue(0, device, 100), first.ledger.issue(0, device, 100) + 50000);
}

}  // namespace
}  // namespace wattle::scheduler
