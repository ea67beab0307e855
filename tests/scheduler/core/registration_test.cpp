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
  EXPECT_NE(run_of(here).point.type, run.point.type);
  cluster.run(40);  // plans are made with it
  EXPECT_EQ(run_of(here).token, run.token);
}

TEST_F(Registration, OtherDevicesAreRefusedUntilTheNodeIsRemoved) {
  const DeviceGroup other{{"A100", 50, 100, 400}, 2, 100};
  EXPECT_THAT(register_again(other), HasSubstr("2 x A100, not 4 x V100"));
  cluster.apply(NodeLost{"a", 1});
  EXPECT_EQ(refusal(cluster.apply(NodeRemoved{"a"})), "");
  EXPECT_EQ(register_again(other), "");
  EXPECT_EQ(cap_of_limits(), 4 * 25 + 2 * 50);
  EXPECT_EQ(node().devices.size(), 2u);
  EXPECT_EQ(refusal(cluster.apply(Drain{"a", true})), "");
  EXPECT_TRUE(node().drained);
}

TEST_F(Registration, MoreIdleWattsThanTheCapLeavesAreRefused) {
  set_cap(8 * 25 + 20);
  EXPECT_THAT(register_again(with_idle(35)), HasSubstr("more than the cap leaves"));
}

}  // namespace
}  // namespace wattle::scheduler
