#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// An agent that registers again, with what it has found this time.
class Registration : public CoreStory {
 protected:
  std::string register_again(const DeviceGroup& group, std::vector<HeldRun> runs = {}) {
    cluster.cut_off("a");
    return refusal(cluster.apply(NodeUp{"a", ++epoch_, {group}, std::move(runs), true}));
  }
  const Node& node() const {
    return cluster.core.state().nodes[cluster.core.state().node_by_name.at("a")];
  }
  /// A job of four ranks on node a, which is lost then.
  JobId lose_a_with_a_job() {
    const JobId one = cluster.submit("one", 4, 4, 1e6), other = cluster.submit("other", 4, 4, 1e6);
    cluster.run(5);
    const JobId here = run_of(one).shares[0].node == node().id ? one : other;
    cluster.apply(Cancel{here == one ? other : one});
    cluster.cut_off("a");
    cluster.run(4);
    cluster.apply(NodeLost{"a", epoch_});
    EXPECT_EQ(node().state, NodeState::kLost);
    return here;
  }
  /// Registers without any run; the answer is why it has to wait.
  std::string register_empty(const std::string& work_dir_id, const std::string& boot_id) {
    epoch_ += 100;
    for (const Decision& decision :
         cluster.apply(NodeUp{"a", epoch_, {{kV100, 4, 60}}, {}, true, work_dir_id, boot_id})) {
      if (const auto* deferred = std::get_if<Deferred>(&decision)) return deferred->why;
    }
    return "";
  }
  std::vector<Decision> join(const std::string& name, int devices, double idle_watts) {
    return cluster.apply(
        NodeUp{name, 1, {{{"joins", idle_watts, 100, 250}, devices, 100}}, {}, true, "x", "y"});
  }
  static bool is_deferred(const std::vector<Decision>& decisions) {
    return std::any_of(decisions.begin(), decisions.end(),
                       [](const auto& d) { return std::holds_alternative<Deferred>(d); });
  }
  static DeviceGroup with_idle(double idle_watts) {
    DeviceGroup group{kV100, 4, 60};
    group.type.idle_watts = idle_watts;
    return group;
  }
  int64_t epoch_ = 1;
};

TEST_F(Registration, OtherWattsOfTheSameDevicesAreTaken) {
  const double before = cap_of_limits();
  EXPECT_EQ(register_again(with_idle(27)), "");
  EXPECT_EQ(cap_of_limits(), before + 4 * 2);
  EXPECT_EQ(node().idle_watts, 4 * 27);
  EXPECT_EQ(cluster.core.state().types.size(), 1u) << "the type is the same";
  DeviceGroup group = with_idle(27);
  group.safe_watts = 80;
  EXPECT_EQ(register_again(group), "");
  EXPECT_EQ(node().safe_watts, 4 * 80);
  cluster.submit("train", 4, 4, 10);
  cluster.run(1);
}

TEST_F(Registration, OtherWattsLeaveARunWhereItIs) {
  const JobId job = cluster.submit("train", 4, 4, 1e6);
  cluster.submit("other", 4, 4, 1e6);
  cluster.run(5);
  JobId here = 0;
  for (const auto& [id, known] : cluster.core.state().jobs) {
    if (known.run && known.run->shares[0].node == node().id) here = id;
  }
  ASSERT_NE(here, 0) << job;
  const scheduler::Run run = run_of(here);
  EXPECT_EQ(register_again(with_idle(27), {{run.token, {0, 1, 2, 3}, 150, 10}}), "");
  ASSERT_TRUE(cluster.job(here).run);
  EXPECT_EQ(run_of(here).token, run.token);
  EXPECT_EQ(run_of(here).point.type, run.point.type);
  EXPECT_EQ(cluster.core.state().types.size(), 1u);
  cluster.run(40);  // plans are made with it
  EXPECT_EQ(run_of(here).token, run.token);
}

TEST_F(Registration, OtherDevicesAreRefusedUntilTheNodeIsRemoved) {
  const DeviceGroup other{{"A100", 50, 100, 400}, 2, 100};
  EXPECT_THAT(register_again(other), HasSubstr("2 x A100, not 4 x V100"));
  cluster.apply(NodeLost{"a", 1});
  EXPECT_EQ(refusal(cluster.apply(NodeRemoved{"a", true})), "");
  EXPECT_EQ(register_again(other), "");
  EXPECT_EQ(cap_of_limits(), 4 * 25 + 2 * 50);
  EXPECT_EQ(node().devices.size(), 2u);
  EXPECT_EQ(refusal(cluster.apply(Drain{"a", true})), "");
  EXPECT_TRUE(node().drained);
}

TEST_F(Registration, ARunThatHasEndedDoesNotTakeItsSuccessorsDevice) {
  cluster.apply(Drain{"b", true});
  const JobId job = cluster.submit("train", 1, 1, 1e6);
  cluster.run(5);
  const scheduler::Run run = run_of(job);
  const DeviceId device = run.shares.front().devices.front();
  const int index = device - node().devices.front();
  EXPECT_EQ(register_again({kV100, 4, 60},
                           {{run.token, {index}, run.issued_watts, 10}, {999, {index}, 100, 10}}),
            "");
  cluster.apply(JobExited{"a", epoch_, 999, 0, 10});
  EXPECT_EQ(cluster.core.state().devices[device].job, job);
  EXPECT_EQ(cluster.core.state().ledger.possible_watts(device), run.issued_watts);
}

TEST_F(Registration, AJobThatEndedWellIsCompletedThoughAnotherNodeIsLostThen) {
  const JobId job = cluster.submit("train", 8, 8, 1e6);
  cluster.run(5);
  const State& now = cluster.core.state();
  const Node &first = now.nodes[run_of(job).shares[0].node],
             &other = now.nodes[run_of(job).shares[1].node];
  cluster.power_off(other.name);
  cluster.apply(JobExited{first.name, first.epoch, run_of(job).token, 0, 10});
  cluster.run(200);
  EXPECT_EQ(state(job), JobState::kCompleted);
}

TEST_F(Registration, MoreDevicesThanANodeCanHaveAreRefused) {
  EXPECT_THAT(register_again({kV100, 1025, 60}), HasSubstr("at most 1024 of all types, got 1025"));
  EXPECT_THAT(register_again({kV100, 0, 60}), HasSubstr("expected at least one device"));
}

TEST_F(Registration, MoreIdleWattsThanTheCapLeavesAreRefused) {
  set_cap(8 * 25 + 20);
  EXPECT_THAT(register_again(with_idle(35)), HasSubstr("more than the cap of 220 W leaves"));
}

TEST_F(Registration, ARunThatTheSameWorkDirDoesNotHoldHasEnded) {
  const JobId job = lose_a_with_a_job();
  const Token token = run_of(job).token;
  EXPECT_EQ(register_empty("a 1", "boot"), "");
  EXPECT_EQ(node().state, NodeState::kUp);
  cluster.run(3);
  EXPECT_NE(run_of(job).token, token);  // it has gone on
}

TEST_F(Registration, ARunThatAnotherWorkDirDoesNotHoldCountsUntilItHasSurelyEnded) {
  const JobId job = lose_a_with_a_job();
  const Token token = run_of(job).token;
  const double before = cap_of_limits(), lost = node().lost_seconds;
  for (const auto& [work_dir, boot] : {std::pair{"a 2", "boot"}, {"a 1", "another"}, {"", ""}}) {
    EXPECT_THAT(register_empty(work_dir, boot), HasSubstr(fmt::format("job {}", job)));
    EXPECT_EQ(node().state, NodeState::kLost);
    EXPECT_EQ(run_of(job).token, token);
    EXPECT_EQ(cap_of_limits(), before);
  }
  cluster.run(lost + 6 + 1 + 20 - cluster.now() - 1);
  EXPECT_NE(register_empty("a 2", "boot"), "");
  EXPECT_EQ(run_of(job).token, token);
  cluster.run(3);
  EXPECT_NE(run_of(job).token, token);
  EXPECT_EQ(register_empty("a 2", "boot"), "");
  EXPECT_EQ(node().state, NodeState::kUp);
}

TEST_F(Registration, NothingIsProvenByAgentsThatSayNothing) {
  EXPECT_EQ(register_empty("", ""), "");
  lose_a_with_a_job();
  EXPECT_NE(register_empty("", ""), "");
}

TEST_F(Registration, ANewNodeWaitsUntilOthersHaveLoweredTheirLimits) {
  cluster.submit("train", 8, 8, 1e6);
  cluster.run(5);
  ASSERT_GT(cap_of_limits(), 1990);  // of 2000
  EXPECT_TRUE(is_deferred(join("c", 4, 25)));
  EXPECT_LE(cap_of_limits(), 2000);
  cluster.run(5);
  EXPECT_LE(cap_of_limits(), 1900);  // there is room for it
  EXPECT_FALSE(is_deferred(
      cluster.apply(NodeUp{"c", 2, {{{"joins", 25, 100, 250}, 4, 100}}, {}, true, "x", "y"})));
  EXPECT_LE(cap_of_limits(), 2000);
}

TEST_F(Registration, RoomIsNotKeptForANodeThatDoesNotComeBack) {
  cluster.submit("train", 8, 8, 1e6);
  cluster.run(5);
  EXPECT_TRUE(is_deferred(join("c", 4, 25)));
  cluster.run(60);
  EXPECT_GT(cap_of_limits(), 1990);
}

TEST_F(Registration, ANodeThatALaterCapHasNoRoomForIsRefusedWithTheNumbers) {
  cluster.apply(CapSet{"cap", 250, CapTier::kHard, cluster.now() + 3600, {}});
  EXPECT_THAT(refusal(join("c", 4, 25)), HasSubstr("300 W"));
  EXPECT_THAT(refusal(join("c", 4, 25)), HasSubstr("250 W"));
  EXPECT_EQ(refusal(join("d", 2, 25)), "");
  EXPECT_THAT(refusal(cluster.apply(CapSet{"cap", 240, CapTier::kHard, cluster.now() + 7200, {}})),
              HasSubstr("250 W"));
}

TEST_F(Registration, ALostNodeIsRemovedOnlyWhenItsRunsHaveSurelyEnded) {
  const JobId job = lose_a_with_a_job();
  const Token token = run_of(job).token;
  EXPECT_THAT(refusal(cluster.apply(NodeRemoved{"a"})), HasSubstr("--force"));
  EXPECT_EQ(run_of(job).token, token);
  cluster.run(30);
  EXPECT_EQ(refusal(cluster.apply(NodeRemoved{"a"})), "");
}

TEST_F(Registration, AnOperatorWhoKnowsThatItIsOffRemovesItAtOnce) {
  const JobId job = lose_a_with_a_job();
  EXPECT_EQ(refusal(cluster.apply(NodeRemoved{"a", true})), "");
  EXPECT_TRUE(node().removed);
  cluster.run(3);
  EXPECT_NE(run_of(job).shares[0].node, node().id);
}

}  // namespace
}  // namespace wattle::scheduler
