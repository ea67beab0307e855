#include "common/error.h"
#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// What an agent says of a run that it could not begin.
class StartFailures : public CoreStory {
 protected:
  StartFailures() { cluster.apply(Drain{"b", true}); }

  JobId submit(int ranks = 4) { return cluster.submit("train", ranks, ranks, 1e6); }
  const Node& node(const std::string& name) const {
    return cluster.core.state().nodes[cluster.core.state().node_by_name.at(name)];
  }
};

TEST_F(StartFailures, AreNoWordAgainstTheJob) {
  cluster.start_fault = "no space left";
  const JobId job = submit();
  cluster.run(5);
  EXPECT_EQ(state(job), JobState::kPending);
  EXPECT_EQ(reason(job), Reason::kNodeStartFailure);
  EXPECT_THAT(cluster.core.explain(job), HasSubstr("a: no space left"));
  EXPECT_EQ(cluster.job(job).start_failures, 1) << "it rests before it is tried again";
  cluster.start_fault.clear();
  cluster.run(60);
  EXPECT_EQ(state(job), JobState::kRunning);
  EXPECT_FALSE(node("a").drained);
}

TEST_F(StartFailures, OfANodeInARowDrainIt) {
  cluster.start_fault = "no space left";
  cluster.start_fault_is_the_nodes = true;
  const JobId job = submit();
  cluster.run(20);
  EXPECT_FALSE(node("a").drained);
  cluster.run(60);
  EXPECT_TRUE(node("a").drained);
  EXPECT_THAT(node("a").drain_reason, HasSubstr("no space left"));
  EXPECT_FALSE(is_finished(state(job)));
  cluster.start_fault.clear();
  cluster.apply(Drain{"a", false});
  EXPECT_EQ(node("a").drain_reason, "");
  cluster.run(100);
  EXPECT_EQ(state(job), JobState::kRunning);
}

TEST_F(StartFailures, AJobThatNoNodeCanBeginEndsOneDay) {
  cluster.start_fault = "no such input";
  const JobId job = submit();
  cluster.run(20000);
  EXPECT_EQ(state(job), JobState::kNodeFail);
  EXPECT_EQ(reason(job), Reason::kNodeStartFailure);
  EXPECT_FALSE(node("a").drained);
}

TEST_F(StartFailures, AreForgottenWhenTheJobGetsOn) {
  const JobId job = submit();
  for (int i = 0; i < 3; ++i) {
    cluster.start_fault = "no space left";
    cluster.power_off("a");
    cluster.run(60);
    ASSERT_EQ(cluster.job(job).start_failures, 0);
    cluster.reconnect("a");
    while (cluster.job(job).start_failures < 5) cluster.run(10);
    cluster.start_fault.clear();
    cluster.run(400);
    ASSERT_EQ(state(job), JobState::kRunning);
  }
}

TEST_F(StartFailures, OfRunsThatANodeDoesNotHoldChangeNothing) {
  const JobId job = submit();
  cluster.run(5);
  ASSERT_EQ(state(job), JobState::kRunning);
  const Token token = run_of(job).token;
  const int64_t epoch = node("b").epoch;
  cluster.apply(Measured{"b", epoch, token, 100, 1e6, 1e9, 1e5, 1e5});
  cluster.apply(JobExited{"b", epoch, token, 0, 1e9, true, true, "says b"});
  EXPECT_EQ(state(job), JobState::kRunning);
  EXPECT_FALSE(run_of(job).blameless);
  EXPECT_EQ(run_of(job).cause, "");
  EXPECT_EQ(node("b").start_failures, 0);
  EXPECT_LT(cluster.core.state().joules.job_spent(job), 1e5);
  EXPECT_LT(cluster.job(job).units_done, 1e5);
}

TEST_F(StartFailures, OfOneShareEndTheOthers) {
  cluster.apply(Drain{"b", false});
  const JobId job = submit(8);
  cluster.run(5);
  const NodeId last = run_of(job).shares[1].node;
  JobExited exited{cluster.core.state().nodes[last].name,
                   1,
                   run_of(job).token,
                   127,
                   0,
                   true,
                   true,
                   "no space left"};
  cluster.apply(exited);
  cluster.run(0.5);  // the kill arrives
  EXPECT_FALSE(cluster.job(job).run);
  EXPECT_EQ(reason(job), Reason::kNodeStartFailure);
}

TEST_F(CoreStory, AnEndSaysWhyAndTheJobRemembersItsRun) {
  const JobId job = cluster.submit("train", 4, 4, 1e6);
  cluster.run(5);
  const scheduler::Run run = run_of(job);
  JobExited exited{cluster.core.state().nodes[run.shares[0].node].name, 1, run.token, 1, 100};
  exited.cause = "loss is NaN at step 3";
  cluster.apply(exited);
  EXPECT_EQ(state(job), JobState::kFailed);
  EXPECT_EQ(cluster.job(job).explanation, "exit code 1: loss is NaN at step 3");
  ASSERT_TRUE(cluster.job(job).last_run);
  const PastRun& last = *cluster.job(job).last_run;
  EXPECT_EQ(last.started_seconds, run.started_seconds);
  EXPECT_EQ(last.ended_seconds, cluster.now());
  EXPECT_EQ(last.ranks, 4);
  EXPECT_EQ(last.nodes, std::vector<NodeId>{run.shares[0].node});
}

}  // namespace
}  // namespace wattle::scheduler
