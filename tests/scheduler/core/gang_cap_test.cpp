#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// A gang on both nodes, with one of them out of reach, under a cap that falls.
class GangCap : public CoreStory {
 protected:
  static CoreOptions patient() {
    CoreOptions options = CoreStory::options();
    options.orphan_grace_seconds = 600;  // what is cut off goes on for some time
    return options;
  }

  GangCap() : CoreStory(patient()) {}
  void SetUp() override {
    gang_ = cluster.submit("gang", 8, 8, 1e6);
    cluster.run(20);
    ASSERT_EQ(run_of(gang_).shares.size(), 2u);
    ASSERT_EQ(cap_of_limits(), 8 * 250);
    token_ = run_of(gang_).token;
  }

  /// Cut off, and noticed.
  void lose(const char* node) {
    cluster.cut_off(node);
    cluster.run(3);
  }
  bool goes_on() const {
    return cluster.job(gang_).run && run_of(gang_).token == token_ &&
           run_of(gang_).phase == scheduler::Run::Phase::kRunning;
  }

  JobId gang_ = 0;
  Token token_ = 0;
};

TEST_F(GangCap, IsMetByTheLimitsOfThePartInReach) {
  for (const char* node : {"a", "b"}) {
    lose(node);
    set_cap(4 * 60 + 4 * 100 + 10);
    cluster.run(10);
    EXPECT_LE(cap_of_limits(), 650) << node;
    EXPECT_TRUE(goes_on()) << cluster.core.explain(gang_);
    cluster.reconnect(node);
    set_cap(2000);
    cluster.run(10);
    ASSERT_TRUE(goes_on()) << cluster.core.explain(gang_);
    EXPECT_EQ(cap_of_limits(), 8 * 250) << "and given back when it is whole again";
  }
}

TEST_F(GangCap, StopsThePartInReachWhereLimitsAreNotEnough) {
  lose("a");
  set_cap(500);
  cluster.run(10);
  EXPECT_LE(cap_of_limits(), 500);
  EXPECT_LE(cluster.in_force_watts(), 500);
  EXPECT_THAT(cluster.core.explain(gang_), HasSubstr("stopped (PowerCap): a part of it is out of"));
}

TEST_F(GangCap, DoesNotWaitForTheCheckpointOfAPart) {
  cluster.checkpoint_seconds = 60;
  lose("a");
  set_cap(500);
  cluster.run(10);
  EXPECT_LE(cap_of_limits(), 500);
}

TEST_F(GangCap, TellsEachPartWhatItWasNotToldYet) {
  lose("a");
  cluster.run(8);  // the node has fallen to its safe limit, the other has not
  set_cap(1900);   // no room to raise it again
  cluster.reconnect("a");
  set_cap(900);
  cluster.run(10);
  EXPECT_LE(cap_of_limits(), 900);
  ASSERT_TRUE(goes_on()) << cluster.core.explain(gang_);
  for (const NodeShare& share : run_of(gang_).shares) {
    EXPECT_EQ(cluster.core.state().ledger.confirmed_watts(share.devices.front()), 112);
  }
}

}  // namespace
}  // namespace wattle::scheduler
