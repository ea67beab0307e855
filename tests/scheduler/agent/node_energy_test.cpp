#include "scheduler/agent/power/node_energy.h"

#include <gmock/gmock.h>

namespace wattle::agent {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

/// A node of two devices of 10 W idle each, that is looked at every second.
class NodeEnergyTest : public testing::Test {
 protected:
  static NodeDevice processor() {
    NodeDevice device;
    device.idle_watts = 10;
    return device;
  }
  static MeterInfo package() {
    MeterInfo info;
    info.device = "rapl:0/package-0";
    info.source = Source::kMeasuredRapl;
    return info;
  }
  NodeEnergy node(int devices, const std::map<std::string, MeterInfo>& meters = {}) {
    return {meters, std::vector<NodeDevice>(static_cast<size_t>(devices), processor())};
  }
  void pass(NodeEnergy& node, int seconds, const std::vector<RunDraw>& runs = {}) {
    for (int i = 0; i < seconds; ++i) {
      now_ += 1;
      package_joules_ += 30;
      node.book({now_, {{"rapl:0/package-0", package_joules_}}}, runs);
    }
  }
  static v1::PowerSample sample(NodeEnergy& node) {
    v1::PowerSample sample;
    EXPECT_TRUE(node.sample(sample));
    return sample;
  }
  static std::map<std::string, double> joules(const v1::PowerSample& sample) {
    std::map<std::string, double> joules;
    for (const v1::SourceJoules& part : sample.energy()) joules[part.source()] = part.joules();
    return joules;
  }
  double now_ = 100, package_joules_ = 5000;
};

TEST_F(NodeEnergyTest, CountsIdleDevicesByTheModel) {
  NodeEnergy idle = node(2);
  pass(idle, 11);
  const v1::PowerSample first = sample(idle);
  EXPECT_DOUBLE_EQ(first.watts(), 20);
  EXPECT_THAT(joules(first), ElementsAre(Pair("estimated:model", 200)));
  EXPECT_EQ(first.devices(1).watts(), 10);
  EXPECT_EQ(first.devices(1).source(), "estimated:model");
  pass(idle, 5);
  EXPECT_THAT(joules(sample(idle)), ElementsAre(Pair("estimated:model", 300))) << "a total";
}

TEST_F(NodeEnergyTest, CountsWhatRunsBookInPlaceOfIdleWatts) {
  NodeEnergy busy = node(3);
  pass(busy, 11, {{{0, 2}, 80}});
  const v1::PowerSample read = sample(busy);
  EXPECT_DOUBLE_EQ(read.watts(), 90);
  EXPECT_EQ(read.devices(0).watts(), 40);
  EXPECT_EQ(read.devices(1).watts(), 10);
}

TEST_F(NodeEnergyTest, TakesTheNodesMeterWhereThereIsOne) {
  NodeEnergy shared = node(2, {{package().device, package()}});
  pass(shared, 11, {{{0}, 50}});
  const v1::PowerSample read = sample(shared);
  EXPECT_THAT(joules(read), ElementsAre(Pair("measured:rapl", 300)));
  EXPECT_EQ(read.devices(0).source(), "estimated:model")
      << "nobody can measure a part of a package";
  NodeEnergy whole = node(1, {{package().device, package()}});
  pass(whole, 11);
  EXPECT_EQ(sample(whole).devices(0).source(), "measured:rapl");
}

TEST_F(NodeEnergyTest, ATimeInWhichNobodyLookedIsNotBridgedByTheModel) {
  NodeEnergy idle = node(1);
  pass(idle, 6);
  now_ += 1000;
  pass(idle, 6);
  EXPECT_THAT(joules(sample(idle)), ElementsAre(Pair("estimated:model", 100)));
}

TEST_F(NodeEnergyTest, SaysNothingBeforeAnyTimeHasPassed) {
  NodeEnergy idle = node(1);
  v1::PowerSample none;
  EXPECT_FALSE(idle.sample(none));
  pass(idle, 1);
  EXPECT_FALSE(idle.sample(none));
  EXPECT_THAT(none.energy(), IsEmpty());
}

}  // namespace
}  // namespace wattle::agent
