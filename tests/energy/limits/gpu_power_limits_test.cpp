#include "energy/limits/gpu_power_limits.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "common/error.h"
#include "energy/limits/limit_journal.h"
#include "energy/limits/power_capper.h"
#include "tests/energy/support/fake_clock.h"
#include "tests/energy/support/fake_gpus.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Two GPUs whose limit was 350 W before any test began: not their maximum, 400 W.
class GpuPowerLimitsTest : public testing::Test {
 protected:
  std::unique_ptr<GpuPowerLimits> take_over(const std::vector<std::string>& guardian = {}) {
    const auto nvml = gpus_.open();
    return std::make_unique<GpuPowerLimits>(nvml, nvml->devices(), journal(), guardian);
  }
  std::vector<double> limits() {
    const auto nvml = gpus_.open();
    std::vector<double> watts;
    for (const NvmlDevice& device : nvml->devices()) {
      watts.push_back(static_cast<double>(*nvml->power_limit_milliwatts(device)) / 1000);
    }
    return watts;
  }
  std::vector<std::string> restore() {
    const auto nvml = gpus_.open();
    return restore_left_limits(*nvml, nvml->devices(), journal());
  }
  std::string journal() { return folder_.path("limits"); }
  std::vector<std::string> notes() {
    std::vector<std::string> names;
    if (!std::filesystem::exists(journal())) return names;
    for (const auto& entry : std::filesystem::directory_iterator(journal())) {
      names.push_back(entry.path().filename());
    }
    return names;
  }
  /// Another process sets 200 W and is killed.
  void crash_with_limits(const std::vector<std::string>& guardian = {}) {
    const pid_t child = fork();
    if (child == 0) {
      const auto limits = take_over(guardian);
      limits->set_watts(200);
      raise(SIGKILL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
  }

  static constexpr char kGpu[] = "limit 350000\nrange 100000 400000\nset 0\nusage 1000\n";
  FakeGpus gpus_{std::string("gpu GPU-a H100\n") + kGpu + "gpu GPU-b H100\n" + kGpu};
  ScratchFolder folder_;
};

TEST_F(GpuPowerLimitsTest, GiveBackTheLimitThatWasThereNotTheDefault) {
  {
    const auto gpus = take_over();
    EXPECT_EQ(gpus->set_watts(250), 250);
    EXPECT_THAT(limits(), ElementsAre(250, 250));
    EXPECT_EQ(gpus->set_watts(200), 200);
    EXPECT_EQ(notes().size(), 2u);
  }
  EXPECT_THAT(limits(), ElementsAre(350, 350));
  EXPECT_THAT(notes(), IsEmpty());
}

TEST_F(GpuPowerLimitsTest, StayInTheRangeOfTheDevice) {
  const auto gpus = take_over();
  EXPECT_EQ(gpus->least_watts(), 100);
  EXPECT_EQ(gpus->most_watts(), 400);
  EXPECT_EQ(gpus->set_watts(50), 100);
  EXPECT_EQ(gpus->set_watts(900), 400);
}

TEST_F(GpuPowerLimitsTest, AreRestoredByTheNextStartAfterACrash) {
  crash_with_limits();
  EXPECT_THAT(limits(), ElementsAre(200, 200));
  take_over().reset();
  EXPECT_THAT(limits(), ElementsAre(350, 350));
}

TEST_F(GpuPowerLimitsTest, AreRestoredOnDemandAfterACrash) {
  crash_with_limits();
  EXPECT_THAT(restore(), ElementsAre(HasSubstr("restored to 350 W"), HasSubstr("GPU-b")));
  EXPECT_THAT(limits(), ElementsAre(350, 350));
  EXPECT_THAT(restore(), IsEmpty());
}

TEST_F(GpuPowerLimitsTest, WhatSomebodyElseSetMeanwhileIsLeftAlone) {
  crash_with_limits();
  const auto nvml = gpus_.open();
  nvml->set_power_limit_milliwatts(nvml->devices()[0], 300000);
  EXPECT_THAT(restore(), ElementsAre(HasSubstr("left as it is"), HasSubstr("restored to 350 W")));
  EXPECT_THAT(limits(), ElementsAre(300, 350));
}

TEST_F(GpuPowerLimitsTest, OfALivingProcessAreNotTaken) {
  const auto gpus = take_over();
  gpus->set_watts(200);
  EXPECT_THAT(restore(), IsEmpty());
  EXPECT_THROW(take_over(), Error);
  EXPECT_THAT(limits(), ElementsAre(200, 200));
}

TEST_F(GpuPowerLimitsTest, NeedThePrivilege) {
  gpus_.restart("gpu GPU-a H100\nlimit 350000\nrange 100000 400000\nset 4\n");
  try {
    take_over();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
    EXPECT_THAT(e.what(), HasSubstr("only root may"));
  }
}

TEST_F(GpuPowerLimitsTest, OnADeviceWithoutLimitsAreRefused) {
  gpus_.restart("gpu GPU-a H100\nusage 1000\n");
  EXPECT_THROW(take_over(), Error);
  std::string note;
  EXPECT_FALSE(find_power_limits({"gpu:GPU-a"}, {}, note, FakeGpus::library(), journal()));
  EXPECT_THAT(note, HasSubstr("GPU-a (H100) has no power limit"));
}

TEST_F(GpuPowerLimitsTest, AreOfTheMeteredGpusOnly) {
  std::string note;
  const auto gpus =
      find_power_limits({"cpu:idle", "gpu:GPU-b"}, {}, note, FakeGpus::library(), journal());
  ASSERT_TRUE(gpus);
  gpus->set_watts(150);
  EXPECT_THAT(limits(), ElementsAre(350, 150));
  EXPECT_FALSE(find_power_limits({"cpu:idle"}, {}, note, FakeGpus::library(), journal()));
  EXPECT_THAT(note, HasSubstr("no GPU is metered"));
}

TEST_F(GpuPowerLimitsTest, ADamagedNoteSaysWhatToDo) {
  folder_.put("limits/GPU-a.json", "{\"pid\":");
  try {
    restore();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kFormat);
    EXPECT_THAT(e.what(), HasSubstr("nvidia-smi -pl"));
  }
}

TEST_F(GpuPowerLimitsTest, TheGuardianHearsOfACrash) {
  const std::string heard = folder_.path("heard");
  crash_with_limits({"sh", "-c", "cat > /dev/null; echo it ended > " + heard});
  for (int i = 0; i < 500 && !std::filesystem::exists(heard); ++i) usleep(10000);
  EXPECT_TRUE(std::filesystem::exists(heard));
}

TEST_F(GpuPowerLimitsTest, TakeTheGpusShareOfACap) {
  FakeClock clock;
  PowerCapper capper(0, clock, take_over(), /*run_gpus=*/2);
  capper.step_done({0, 0});
  clock.advance(1);
  capper.step_done({900, 800});  // 100 W beside the GPUs
  capper.set_cap(500);
  EXPECT_THAT(limits(), ElementsAre(200, 200));
  capper.set_cap({});
  EXPECT_THAT(limits(), ElementsAre(350, 350));
}

}  // namespace
}  // namespace wattle
