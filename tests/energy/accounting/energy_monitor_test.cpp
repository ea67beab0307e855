#include "energy/accounting/energy_monitor.h"

#include <gmock/gmock.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>

#include "common/error.h"
#include "tests/energy/support/fake_clock.h"
#include "tests/energy/support/fake_gpus.h"
#include "tests/energy/support/fake_meter.h"

namespace wattle {
namespace {

using testing::HasSubstr;

/// A monitor of one device that draws `watts`, sampled by hand.
class EnergyMonitorTest : public testing::Test {
 protected:
  void monitor_a(MeterInfo info) {
    monitor_ =
        std::make_unique<EnergyMonitor>(one_meter(std::move(info), [this] { return read(); }),
                                        EnergyOptions{}, clock_, EnergyMonitor::Sampling::kByHand);
  }
  void monitor_a_cheap_counter() {
    MeterInfo info = counter_info("cpu:process-1", Source::kEstimatedModel);
    info.is_cheap = true;
    monitor_a(info);
  }
  double read() {
    if (is_lost_) throw Error(ErrorCode::kIo, "GPU is lost");
    return joules_;
  }
  /// Time passes, and the device uses energy.
  void work(double seconds, double watts) {
    clock_.advance(seconds);
    joules_ += seconds * watts;
  }
  void work_in(Phase phase, double seconds, double watts) {
    const auto window = monitor_->window(phase);
    work(seconds, watts);
  }
  double joules_of(Phase phase) { return monitor_->ledger().phase(phase).joules.total(); }
  double seconds_of(Phase phase) { return monitor_->ledger().phase(phase).seconds; }

  FakeClock clock_;
  double joules_ = 0;
  bool is_lost_ = false;
  std::unique_ptr<EnergyMonitor> monitor_;
};

TEST_F(EnergyMonitorTest, ACheapMeterIsReadAtTheEdgesOfWindows) {
  monitor_a_cheap_counter();
  work_in(Phase::kForward, 1, 100);
  work_in(Phase::kBackward, 2, 200);
  work(1, 10);
  EXPECT_EQ(joules_of(Phase::kForward), 100);
  EXPECT_EQ(joules_of(Phase::kBackward), 400);
  EXPECT_EQ(joules_of(Phase::kOther), 10);
  EXPECT_EQ(seconds_of(Phase::kBackward), 2);
}

TEST_F(EnergyMonitorTest, ACostlyMetersJoulesAreDividedByTime) {
  monitor_a(counter_info());
  work_in(Phase::kForward, 1, 100);
  work_in(Phase::kBackward, 3, 100);
  monitor_->sample();
  EXPECT_EQ(joules_of(Phase::kForward), 100);
  EXPECT_EQ(joules_of(Phase::kBackward), 300);
}

TEST_F(EnergyMonitorTest, TheInnermostWindowCounts) {
  monitor_a_cheap_counter();
  {
    const auto backward = monitor_->window(Phase::kBackward);
    work(1, 100);
    work_in(Phase::kCommunication, 1, 50);
    work(1, 100);
  }
  EXPECT_EQ(joules_of(Phase::kBackward), 200);
  EXPECT_EQ(joules_of(Phase::kCommunication), 50);
}

TEST_F(EnergyMonitorTest, AllThatHappensInAnEvaluationIsInference) {
  monitor_a_cheap_counter();
  {
    const auto evaluation = monitor_->window(Phase::kEvaluation);
    work_in(Phase::kForward, 1, 100);
  }
  work_in(Phase::kForward, 1, 30);
  const EnergyLedger ledger = monitor_->ledger();
  EXPECT_EQ(ledger.inference().joules.total(), 100);
  EXPECT_EQ(ledger.training().joules.total(), 30);
}

TEST_F(EnergyMonitorTest, DividesAPhaseAmongKindsOfLayers) {
  monitor_a_cheap_counter();
  monitor_->set_layer_shares(Phase::kForward, {{"attention", 0.25}, {"mlp", 0.5}});
  work_in(Phase::kForward, 2, 100);
  const EnergyLedger ledger = monitor_->ledger();
  EXPECT_EQ(ledger.layers().at({Phase::kForward, "attention"}).joules.total(), 50);
  EXPECT_EQ(ledger.layers().at({Phase::kForward, "mlp"}).joules.total(), 100);
  EXPECT_EQ(ledger.phase(Phase::kForward).joules.total(), 200) << "the rest stays in the phase";
}

TEST_F(EnergyMonitorTest, CarriesOnBetweenReadingsOfACostlyMeter) {
  monitor_a(counter_info());
  work(1, 100);
  monitor_->sample();
  work(0.5, 100);
  EXPECT_EQ(monitor_->joules_now(), 150);
}

TEST_F(EnergyMonitorTest, JoulesOfStepsAddUpToTheWholeAndNeverFall) {
  monitor_a(counter_info());
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform(0, 1);
  double sum = 0, before = 0;
  for (int step = 0; step < 200; ++step) {
    work(0.02 * uniform(random), 300 * uniform(random));
    if (uniform(random) < 0.3) monitor_->sample();
    const double now = monitor_->joules_now();
    ASSERT_GE(now, before);
    sum += now - before;
    before = now;
  }
  monitor_->sample();
  sum += monitor_->joules_now() - before;
  EXPECT_NEAR(sum, joules_, 300 * 0.02 * 5);
}

TEST_F(EnergyMonitorTest, PhasesAddUpToTheWholeHoweverWindowsNest) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (const bool cheap : {true, false}) {
    cheap ? monitor_a_cheap_counter() : monitor_a(counter_info());
    const double before = joules_, began = clock_.now_seconds();
    const std::function<void(int)> nest = [&](int depth) {
      const auto window = monitor_->window(static_cast<Phase>(random() % kPhaseCount));
      work(uniform(random), 100 * uniform(random));
      if (uniform(random) < 0.2) monitor_->sample();
      if (depth > 0) nest(depth - 1);
      work(uniform(random), 100 * uniform(random));
    };
    for (int i = 0; i < 50; ++i) nest(static_cast<int>(random() % 4));
    const Account run = monitor_->ledger().run();
    EXPECT_NEAR(run.joules.total(), joules_ - before, 1e-6);
    EXPECT_NEAR(run.seconds, clock_.now_seconds() - began, 1e-6);
  }
}

TEST_F(EnergyMonitorTest, AMeterThatDisappearsLeavesAGapAndItsLabel) {
  monitor_a(counter_info());
  work(1, 100);
  monitor_->sample();
  is_lost_ = true;
  work(4, 100);
  const EnergyLedger ledger = monitor_->ledger();
  ASSERT_EQ(ledger.devices().size(), 1u);
  EXPECT_EQ(ledger.devices()[0].joules, 100);
  EXPECT_EQ(ledger.devices()[0].gap_seconds, 4);
  EXPECT_EQ(ledger.devices()[0].last_gap, "GPU is lost");
  EXPECT_EQ(monitor_->source_label(), "measured:nvml");
}

TEST_F(EnergyMonitorTest, WithoutOneJouleTheSourceIsUnavailable) {
  is_lost_ = true;
  monitor_a(counter_info());
  work(1, 100);
  monitor_->sample();
  EXPECT_EQ(monitor_->source_label(), "unavailable");
}

TEST_F(EnergyMonitorTest, DevicesOfOtherRanksNoLongerCount) {
  FoundMeters found;
  for (const char* device : {"gpu:mine", "gpu:yours"}) {
    found.meters.push_back(
        std::make_unique<FakeMeter>(counter_info(device), [this] { return read(); }));
  }
  EnergyMonitor monitor(std::move(found), EnergyOptions{}, clock_,
                        EnergyMonitor::Sampling::kByHand);
  work(1, 100);
  monitor.sample();
  EXPECT_EQ(monitor.joules_now(), 200);
  monitor.keep_only({"gpu:mine"});
  EXPECT_EQ(monitor.joules_now(), 100);
  EXPECT_EQ(monitor.ledger().run().joules.total(), 100);
  EXPECT_THAT(monitor.devices(), testing::ElementsAre("gpu:mine"));
}

TEST_F(EnergyMonitorTest, KeepsSourcesApart) {
  FoundMeters found = one_meter(counter_info("gpu:a"), [this] { return read(); });
  MeterInfo cpu = counter_info("cpu:process-1", Source::kEstimatedModel);
  cpu.is_cheap = true;
  found.meters.push_back(std::make_unique<FakeMeter>(cpu, [this] { return read() / 10; }));
  EnergyMonitor monitor(std::move(found), EnergyOptions{}, clock_,
                        EnergyMonitor::Sampling::kByHand);
  work(1, 100);
  const JoulesBySource joules = monitor.ledger().run().joules;
  EXPECT_EQ(joules[Source::kMeasuredNvml], 100);
  EXPECT_EQ(joules[Source::kEstimatedModel], 10);
  EXPECT_EQ(monitor.source_label(), "measured:nvml+estimated:model");
}

TEST(EnergyMonitor, MetersAScriptedGpuThroughItsOwnLibrary) {
  FakeGpus gpus("gpu GPU-a H100\nenergy 1000 2000 3000 13000 !15 33000 100 5100\n");
  FakeClock clock;
  MeterEnvironment environment;
  environment.nvml_library = FakeGpus::library();
  EnergyOptions options;
  options.meter = MeterKind::kNvml;
  EnergyMonitor monitor(find_meters(options, environment, clock), options, clock,
                        EnergyMonitor::Sampling::kByHand);  // reads 1, 2 (probe) and 3 J
  for (int second = 0; second < 5; ++second) {
    clock.advance(1);
    monitor.sample();  // 13 J, lost, 33 J, a reset to 0.1 J, 5.1 J
  }
  const EnergyLedger ledger = monitor.ledger();
  const DeviceTotal& gpu = ledger.devices()[0];
  EXPECT_NEAR(gpu.joules, 10 + 20 + 5, 1e-9);
  EXPECT_EQ(gpu.gaps, 2);
  EXPECT_THAT(gpu.last_gap, HasSubstr("the counter went from 33 J to 0.1 J"));
}

TEST(EnergyMonitor, ItsThreadMetersWhileOthersOpenWindows) {
  SteadyClock clock;
  EnergyOptions options;
  options.sample_interval_seconds = 0.005;
  const double began = clock.now_seconds();
  MeterInfo cheap = counter_info("cpu:idle", Source::kEstimatedModel);
  cheap.is_cheap = true;
  FoundMeters found = one_meter(cheap, [&] { return 10 * (clock.now_seconds() - began); });
  std::atomic<int> readings = 0;
  found.meters.push_back(std::make_unique<FakeMeter>(counter_info(), [&] {
    ++readings;
    return 50 * (clock.now_seconds() - began);
  }));
  EnergyMonitor monitor(std::move(found), options, clock, EnergyMonitor::Sampling::kThread);
  std::thread other([&] {
    for (int i = 0; i < 200; ++i) monitor.gaps();
  });
  while (readings < 20) {
    const auto window = monitor.window(Phase::kForward);
    monitor.joules_now();
    std::this_thread::yield();
  }
  other.join();
  EXPECT_GT(monitor.ledger().phase(Phase::kForward).joules.total(), 0);
}

}  // namespace
}  // namespace wattle
