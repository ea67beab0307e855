#include "energy/meters/model_meter.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "common/error.h"
#include "energy/meters/cpu_time.h"
#include "tests/energy/support/fake_clock.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

using testing::HasSubstr;

std::string cpuinfo(int processors, const std::string& vendor, int family, int model,
                    int stepping) {
  std::string text;
  for (int i = 0; i < processors; ++i) {
    text += fmt::format(
        "processor\t: {}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: x\n"
        "stepping\t: {}\n\n",
        i, vendor, family, model, stepping);
  }
  return text;
}

TEST(HostPower, ComesFromTheTableOfProcessors) {
  ScratchFolder root;
  root.put("proc/cpuinfo", cpuinfo(4, "GenuineIntel", 6, 85, 7));
  const HostPower power = host_power({}, {}, root.path());
  EXPECT_THAT(power.origin, HasSubstr("Cascade Lake"));
  EXPECT_EQ(power.logical_processors, 4);
  EXPECT_NEAR(power.idle_watts, 4 * 0.6389, 1e-9);
  EXPECT_NEAR(power.max_watts, 4 * 3.6425, 1e-9);
}

TEST(HostPower, TellsSteppingsApart) {
  ScratchFolder root;
  root.put("proc/cpuinfo", cpuinfo(1, "GenuineIntel", 6, 85, 4));
  EXPECT_THAT(host_power({}, {}, root.path()).origin, HasSubstr("Skylake"));
}

TEST(HostPower, IsGenericForUnknownProcessorsAndSaysSo) {
  ScratchFolder root;
  root.put("proc/cpuinfo", cpuinfo(2, "AuthenticAMD", 99, 1, 1));
  const HostPower power = host_power({}, {}, root.path());
  EXPECT_THAT(power.origin, HasSubstr("generic"));
  EXPECT_NEAR(power.max_watts, 2 * 4.26, 1e-9);
  EXPECT_THAT(host_power({}, {}, root.path("nowhere")).origin, HasSubstr("generic"));
}

TEST(HostPower, TakesWhatIsGiven) {
  const HostPower power = host_power(30, 90);
  EXPECT_EQ(power.idle_watts, 30);
  EXPECT_EQ(power.max_watts, 90);
  EXPECT_EQ(power.origin, "idle_watts and max_watts");
}

TEST(HostPower, RefusesAnIdlePowerAboveTheMaximum) {
  ScratchFolder root;
  root.put("proc/cpuinfo", cpuinfo(1, "AuthenticAMD", 23, 49, 0));
  EXPECT_THROW(host_power(500, {}, root.path()), Error);
}

TEST(ModelMeters, ChargeIdleToTheHostAndLoadToTheProcess) {
  FakeClock clock;
  double cpu_seconds = 100;
  const HostPower power{/*idle_watts=*/20, /*max_watts=*/100, /*logical_processors=*/4, ""};
  const auto meters = model_meters(
      power, 4711, [&] { return cpu_seconds; }, clock);
  ASSERT_EQ(meters.size(), 2u);
  EXPECT_EQ(meters[0]->info().device, "cpu:idle");
  EXPECT_EQ(meters[1]->info().device, "cpu:process-4711");
  clock.advance(10);
  cpu_seconds += 20;  // two of four processors
  EXPECT_EQ(meters[0]->read(), 200);
  EXPECT_EQ(meters[1]->read(), 400);
  EXPECT_EQ(meters[0]->info().source, Source::kEstimatedModel);
}

TEST(CpuTime, OfThisProcessGrowsWithItsWork) {
  const double before = process_cpu_seconds();
  volatile double sum = 0;
  for (int i = 0; i < 2000000; ++i) sum = sum + i;
  EXPECT_GT(process_cpu_seconds(), before);
}

std::string stat_line(int pid, const std::string& name, int parent, int user, int system,
                      int children_user, int children_system) {
  return fmt::format("{} ({}) S {} 0 0 0 0 0 0 0 0 0 {} {} {} {} 20 0\n", pid, name, parent, user,
                     system, children_user, children_system);
}

TEST(CpuTime, OfATreeCountsDescendantsAndNoOthers) {
  ScratchFolder proc;
  proc.put("10/stat", stat_line(10, "bash", 1, 100, 50, 25, 25));
  proc.put("11/stat", stat_line(11, "a) R 1 (b", 10, 200, 0, 0, 0));
  proc.put("12/stat", stat_line(12, "python3", 11, 0, 300, 0, 0));
  proc.put("13/stat", stat_line(13, "other", 1, 9999, 0, 0, 0));
  proc.put("version", "Linux");
  const double ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  EXPECT_EQ(tree_cpu_seconds(10, proc.path()), 700 / ticks_per_second);
  EXPECT_EQ(tree_cpu_seconds(99, proc.path()), 0);
}

}  // namespace
}  // namespace wattle
