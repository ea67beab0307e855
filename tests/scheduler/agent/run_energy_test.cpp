#include "scheduler/agent/power/run_energy.h"

#include <gmock/gmock.h>

namespace wattle::agent {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::Pair;

constexpr const char* kPackage = "rapl:0/package-0";
constexpr double kMostWatts = 40;

/// A run on all of a node's processors, of which the agent knows last what was at 100 s.
class RunEnergyTest : public testing::Test {
 protected:
  static RunEnergy run(const std::map<std::string, MeterInfo>& meters) {
    NodeDevice device;
    device.idle_watts = 10, device.max_limit_watts = 50, device.processors = 4;
    RunEnergy energy(meters, {device}, /*has_whole_node=*/true, {});
    energy.book({100, {{kPackage, 5000}}}, 2, kMostWatts);
    return energy;
  }
  static RunEnergy measured() {
    MeterInfo info;
    info.device = kPackage, info.source = Source::kMeasuredRapl, info.reading = Reading::kJoules;
    info.plausible_watts = 500;
    return run({{kPackage, info}});
  }
};

TEST_F(RunEnergyTest, AModelledRunIsChargedUpToItsEnd) {
  RunEnergy energy = run({});
  energy.book_end({160, {}}, 3, 101, kMostWatts);
  EXPECT_THAT(energy.record().joules, ElementsAre(Pair("estimated:model", DoubleEq(10 + 10))));
  energy.book_end({200, {}}, 3, 101, kMostWatts);  // by another agent
  EXPECT_DOUBLE_EQ(energy.joules(), 20);
}

TEST_F(RunEnergyTest, DrawsNothingAfterItsEnd) {
  RunEnergy energy = run({});
  energy.book_end({100.2, {}}, 2.1, 100.1, kMostWatts);
  EXPECT_NEAR(energy.watts(), (1 + 1) / 0.2, 1e-9) << "over the interval in which it ended";
  energy.rest();
  EXPECT_EQ(energy.watts(), 0);
}

TEST_F(RunEnergyTest, AModelledRunThatNobodyHasSeenIsChargedItsLimit) {
  RunEnergy energy = run({});
  energy.book_end({160, {}}, std::nullopt, 103, kMostWatts);
  EXPECT_DOUBLE_EQ(energy.joules(), 3 * kMostWatts);
  RunEnergy counted = measured();
  counted.book_end({103, {{kPackage, 5020}}}, std::nullopt, 103, kMostWatts);
  EXPECT_THAT(counted.record().joules, ElementsAre(Pair("measured:rapl", DoubleEq(20))));
}

TEST_F(RunEnergyTest, WhereMetersCanNotTellItsLimitIsCharged) {
  constexpr double kRange = 262144;
  MeterInfo info;
  info.device = kPackage, info.source = Source::kMeasuredRapl, info.reading = Reading::kJoules;
  info.plausible_watts = 5000, info.wraps_at_joules = kRange;
  for (const bool has_ended : {true, false}) {
    RunEnergy energy = run({{kPackage, info}});
    const Readings later{400, {{kPackage, 9000}}};  // it may have wrapped
    has_ended ? energy.book_end(later, 3, 126, kMostWatts) : energy.book(later, 3, kMostWatts);
    const double seconds = has_ended ? 26 : 300;
    EXPECT_THAT(energy.record().joules,
                ElementsAre(Pair("estimated:model", DoubleEq(seconds * kMostWatts))));
  }
  RunEnergy silent = measured();
  silent.book_end({130, {}}, 3, 126, kMostWatts);
  EXPECT_DOUBLE_EQ(silent.joules(), 26 * kMostWatts);
}

TEST_F(RunEnergyTest, AnEndThatIsBookedIsNotBookedAgain) {
  for (const bool is_measured : {true, false}) {
    RunEnergy energy = is_measured ? measured() : run({});
    energy.book_end({103, {{kPackage, 5030}}}, std::nullopt, 103, kMostWatts);
    const double joules = energy.joules();
    energy.book_end({105, {{kPackage, 5900}}}, std::nullopt, 103, kMostWatts);  // another agent
    EXPECT_DOUBLE_EQ(energy.joules(), joules);
  }
}

TEST_F(RunEnergyTest, OfWhatWasCountedLongAfterItsEndNoMoreThanItsLimitIsCharged) {
  RunEnergy energy = measured();
  energy.book_end({160, {{kPackage, 6500}}}, 3, 102, kMostWatts);
  EXPECT_THAT(energy.record().joules, ElementsAre(Pair("estimated:model", DoubleEq(80))));
  RunEnergy idle = measured();
  idle.book_end({160, {{kPackage, 5030}}}, 3, 102, kMostWatts);
  EXPECT_DOUBLE_EQ(idle.joules(), 30) << "no more than was counted";
}

TEST_F(RunEnergyTest, WhatIsCountedAtItsEndIsMeasured) {
  RunEnergy energy = measured();
  energy.book_end({100.1, {{kPackage, 5006}}}, 3, 100.05, kMostWatts);
  EXPECT_THAT(energy.record().joules, ElementsAre(Pair("measured:rapl", DoubleEq(6))));
}

}  // namespace
}  // namespace wattle::agent
