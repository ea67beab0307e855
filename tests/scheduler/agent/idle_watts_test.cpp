#include "scheduler/agent/power/idle_watts.h"

#include <gmock/gmock.h>

#include "tests/support/scratch_folder.h"

namespace wattle::agent {
namespace {

using testing::ElementsAre;

class IdleWattsTest : public testing::Test {
 protected:
  static NodeDevice gpu(const std::string& uuid, double idle_watts) {
    NodeDevice device;
    device.type = "V100";
    device.gpu_uuid = uuid;
    device.idle_watts = idle_watts;
    device.min_limit_watts = 100;
    return device;
  }
  /// What an agent that starts now and measures this registers.
  std::vector<double> start(std::vector<NodeDevice> devices) {
    keep_idle_watts(devices, folder_.path("idle_watts.json"));
    std::vector<double> watts;
    for (const NodeDevice& device : devices) watts.push_back(device.idle_watts);
    return watts;
  }
  ScratchFolder folder_;
};

TEST_F(IdleWattsTest, AreMeasuredOnce) {
  EXPECT_THAT(start({gpu("a", 24.7), gpu("b", 25.3)}), ElementsAre(25.3, 25.3));
  EXPECT_THAT(start({gpu("a", 100), gpu("b", 31)}), ElementsAre(25.3, 25.3));
}

TEST_F(IdleWattsTest, OfANewDeviceAreAdded) {
  start({gpu("a", 25)});
  EXPECT_THAT(start({gpu("a", 90), gpu("b", 27)}), ElementsAre(27, 27));
}

TEST_F(IdleWattsTest, OfADamagedFileAreMeasuredAnew) {
  folder_.put("idle_watts.json", "{\"a\": \"much\", \"b\": 1e9");
  EXPECT_THAT(start({gpu("a", 25)}), ElementsAre(25));
}

TEST_F(IdleWattsTest, OfProcessorsAreLeftAlone) {
  NodeDevice processors;
  processors.type = "cpu-8";
  processors.idle_watts = 7;
  EXPECT_THAT(start({processors}), ElementsAre(7));
}

}  // namespace
}  // namespace wattle::agent
