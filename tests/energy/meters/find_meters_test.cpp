#include "energy/meters/find_meters.h"

#include <gmock/gmock.h>

#include "common/error.h"
#include "tests/energy/support/fake_clock.h"
#include "tests/energy/support/fake_gpus.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

/// A machine that has, to begin with, neither GPUs nor counters.
class FindMetersTest : public testing::Test {
 protected:
  FindMetersTest() {
    environment_.root = root_.path();
    environment_.nvml_library = "libthere-is-none.so.1";
    environment_.pid = 7;
    environment_.cpu_seconds = [] { return 0.0; };
  }
  void give_rapl() {
    root_.put("sys/class/powercap/intel-rapl:0/name", "package-0");
    root_.put("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "1000000");
    root_.put("sys/class/powercap/intel-rapl:0/energy_uj", "1");
  }
  void give_gpus() { environment_.nvml_library = FakeGpus::library(); }
  std::vector<std::string> find(MeterKind kind) {
    EnergyOptions options;
    options.meter = kind;
    options.trace_path = root_.path("power.csv");
    found_ = find_meters(options, environment_, clock_);
    std::vector<std::string> devices;
    for (const auto& meter : found_.meters) devices.push_back(meter->info().device);
    return devices;
  }

  ScratchFolder root_;
  FakeGpus gpus_{"gpu GPU-a H100\nusage 1000\ngpu GPU-b H100\nusage 1000\n"};
  MeterEnvironment environment_;
  FakeClock clock_;
  FoundMeters found_;
};

TEST_F(FindMetersTest, AutoFallsBackToTheModelAndSaysWhy) {
  EXPECT_THAT(find(MeterKind::kAuto), ElementsAre("cpu:idle", "cpu:process-7"));
  EXPECT_THAT(found_.notes, Contains(HasSubstr("nvml: absent: no NVIDIA driver")));
  EXPECT_THAT(found_.notes, Contains(HasSubstr("rapl: absent: no package")));
  EXPECT_THAT(found_.notes, Contains("cpu:idle: estimated:model"));
}

TEST_F(FindMetersTest, AutoTakesAllThatIsMeasured) {
  give_rapl();
  give_gpus();
  EXPECT_THAT(find(MeterKind::kAuto), ElementsAre("gpu:GPU-a", "gpu:GPU-b", "rapl:0/package-0"));
}

TEST_F(FindMetersTest, CudaVisibleDevicesLimitsTheGpus) {
  give_gpus();
  environment_.cuda_visible_devices = "GPU-b";
  EXPECT_THAT(find(MeterKind::kNvml), ElementsAre("gpu:GPU-b"));
  environment_.cuda_visible_devices = "";
  EXPECT_THROW(find(MeterKind::kNvml), Error);
}

TEST_F(FindMetersTest, AMeterThatIsNamedButAbsentIsAnError) {
  const auto refused = [this](MeterKind kind) {
    try {
      find(kind);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kConfig);
      return std::string(e.what());
    }
    return std::string("found");
  };
  EXPECT_THAT(refused(MeterKind::kNvml), HasSubstr("energy.meter: nvml is not here: no NVIDIA"));
  EXPECT_THAT(refused(MeterKind::kRapl), HasSubstr("energy.meter: rapl is not here: no package"));
  EXPECT_THROW(find(MeterKind::kTrace), Error);
}

TEST_F(FindMetersTest, ATraceReplaysEveryDeviceInIt) {
  root_.put("power.csv", "0,1,a\n1,1,a\n0,1,b\n1,1,b\n");
  EXPECT_THAT(find(MeterKind::kTrace), ElementsAre("trace:a", "trace:b"));
}

}  // namespace
}  // namespace wattle
