#include "energy/meters/nvml/nvml_meter.h"

#include <gmock/gmock.h>

#include "common/error.h"
#include "tests/energy/support/fake_clock.h"
#include "tests/energy/support/fake_gpus.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// The first GPU of a script.
class NvmlMeterTest : public testing::Test {
 protected:
  std::unique_ptr<Meter> meter(const std::string& lines) {
    gpus_.restart("gpu GPU-aaaa H100\n" + lines);
    const auto nvml = gpus_.open();
    return nvml_meter(nvml, nvml->devices().front(), clock_);
  }

  FakeGpus gpus_{""};
  FakeClock clock_;
};

TEST_F(NvmlMeterTest, PrefersTheEnergyCounter) {
  const auto gpu = meter("energy 5000 6000 7500\npower 250000\n");
  EXPECT_EQ(gpu->info().device, "gpu:GPU-aaaa");
  EXPECT_EQ(gpu->info().source, Source::kMeasuredNvml);
  EXPECT_EQ(gpu->info().reading, Reading::kJoules);
  EXPECT_EQ(gpu->read(), 7.5);
}

TEST_F(NvmlMeterTest, ACounterOfZeroIsNotNoEnergy) {
  const auto gpu = meter("energy 0\npower 250000\n");
  EXPECT_EQ(gpu->info().source, Source::kIntegratedNvml);
  EXPECT_EQ(gpu->info().reading, Reading::kWatts);
  EXPECT_EQ(gpu->read(), 250);
}

TEST_F(NvmlMeterTest, ACounterThatNeverChangesIsNotNoEnergy) {
  const auto gpu = meter("energy 123456\npower 250000\n");
  EXPECT_EQ(gpu->info().source, Source::kIntegratedNvml);
}

TEST_F(NvmlMeterTest, WaitsForACounterThatIsRenewedNowAndThen) {
  const auto gpu = meter("energy 5000 5000 5000 5000 5000 6000\npower 250000\n");
  EXPECT_EQ(gpu->info().source, Source::kMeasuredNvml);
}

TEST_F(NvmlMeterTest, PrefersInstantPowerToTheDriversAverage) {
  EXPECT_EQ(meter("power 250000\nusage 111000\n")->read(), 250);
  EXPECT_EQ(meter("usage 111000\n")->read(), 111);
}

TEST_F(NvmlMeterTest, RefusesAGpuThatTellsNothing) { EXPECT_THROW(meter(""), Error); }

TEST_F(NvmlMeterTest, AGpuThatIsLostIsAnErrorInNvmlsWords) {
  const auto gpu = meter("power 250000 !15\n");
  try {
    gpu->read();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kIo);
    EXPECT_THAT(e.what(), HasSubstr("GPU is lost"));
  }
}

TEST(NvmlLibrary, SaysThatThereIsNone) {
  EXPECT_THROW(Nvml("libthere-is-none.so.1"), Error);
  EXPECT_THROW(Nvml("libm.so.6"), Error) << "a library, but not NVML";
}

TEST(NvmlLibrary, SaysThatTheDriverIsNotLoaded) {
  FakeGpus gpus("init 9\n");
  try {
    gpus.open();
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("Driver Not Loaded"));
  }
}

std::vector<std::string> visible(const std::optional<std::string>& list) {
  const std::vector<NvmlDevice> all = {
      {nullptr, "GPU-aa11", ""}, {nullptr, "GPU-aa22", ""}, {nullptr, "GPU-bb33", ""}};
  std::vector<std::string> uuids;
  for (const NvmlDevice& device : visible_devices(all, list)) uuids.push_back(device.uuid);
  return uuids;
}

TEST(CudaVisibleDevices, SelectsAsCudaDoes) {
  EXPECT_THAT(visible({}), ElementsAre("GPU-aa11", "GPU-aa22", "GPU-bb33"));
  EXPECT_THAT(visible("2,0"), ElementsAre("GPU-bb33", "GPU-aa11"));
  EXPECT_THAT(visible("GPU-bb33, GPU-aa1"), ElementsAre("GPU-bb33", "GPU-aa11"));
  EXPECT_THAT(visible(""), ElementsAre());
  EXPECT_THAT(visible("-1"), ElementsAre());
  EXPECT_THAT(visible("0,7,1"), ElementsAre("GPU-aa11")) << "ends at the first invalid entry";
  EXPECT_THAT(visible("GPU-aa"), ElementsAre()) << "names two devices";
  EXPECT_THROW(visible("MIG-1234"), Error);
}

}  // namespace
}  // namespace wattle
