#include "energy/energy_options.h"

#include <gmock/gmock.h>

#include "common/config/config_file.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// Reads text as energy.yaml; what is wrong with it is in `errors`.
struct Reading {
  EnergyOptions options;
  Diagnostics diagnostics;
  explicit Reading(const std::string& text) {
    Fields fields = fields_of(options);
    read_config_text(text, "energy.yaml", fields, {}, diagnostics);
  }
  const std::vector<std::string>& errors() const { return diagnostics.errors(); }
};

TEST(EnergyOptions, ReadsTheDesignsExample) {
  Reading r("{meter: nvml, budget_joules: 50000, power_cap_watts: 300, on_exceeded: throttle}");
  ASSERT_THAT(r.errors(), ElementsAre());
  EXPECT_EQ(r.options.meter, MeterKind::kNvml);
  EXPECT_EQ(r.options.budget_joules, 50000);
  EXPECT_EQ(r.options.power_cap_watts, 300);
  EXPECT_EQ(r.options.on_exceeded, OnExceeded::kThrottle);
}

TEST(EnergyOptions, NothingIsLimitedUnlessAsked) {
  Reading r("{}");
  ASSERT_THAT(r.errors(), ElementsAre());
  EXPECT_FALSE(r.options.budget_joules);
  EXPECT_FALSE(r.options.power_cap_watts);
  EXPECT_EQ(r.options.tune_power_limit, TuneObjective::kOff);
}

TEST(EnergyOptions, RefusesABudgetOfZeroAndNumbersThatAreNone) {
  EXPECT_THAT(Reading("budget_joules: 0").errors(),
              ElementsAre("energy.yaml:1:16: budget_joules: expected more than 0, got 0"));
  EXPECT_THAT(Reading("budget_joules: .nan").errors(), Not(IsEmpty()));
  EXPECT_THAT(Reading("budget_joules: .inf").errors(), Not(IsEmpty()));
  EXPECT_THAT(Reading("power_cap_watts: -1").errors(), Not(IsEmpty()));
}

TEST(EnergyOptions, RefusesACapBelowIdlePower) {
  EXPECT_THAT(
      Reading("idle_watts: 50\npower_cap_watts: 40").errors(),
      ElementsAre("energy.yaml:2:18: power_cap_watts: 40 W can't be held: the machine draws "
                  "idle_watts (50 W) without any work"));
}

TEST(EnergyOptions, RefusesAMaximumBelowIdle) {
  EXPECT_THAT(Reading("{idle_watts: 50, max_watts: 50}").errors(),
              ElementsAre(HasSubstr("max_watts: expected more than idle_watts (50 W), got 50 W")));
}

TEST(EnergyOptions, WantsATraceForReplayAndOnlyThen) {
  EXPECT_THAT(Reading("meter: trace").errors(), ElementsAre(HasSubstr("trace_path: is required")));
  EXPECT_THAT(Reading("trace_path: power.csv").errors(),
              ElementsAre(HasSubstr("trace_path: is read only with meter: trace")));
}

TEST(EnergyOptions, ThrottlingNeedsABudget) {
  EXPECT_THAT(Reading("on_exceeded: throttle").errors(),
              ElementsAre(HasSubstr("throttle needs budget_joules")));
}

TEST(EnergyOptions, WhatIsWrittenReadsBackTheSame) {
  Reading first("{meter: model, idle_watts: 10, max_watts: 20, budget_joules: 7}");
  const std::string text = write_config(fields_of(first.options));
  Reading second(text);
  ASSERT_THAT(second.errors(), ElementsAre());
  EXPECT_EQ(write_config(fields_of(second.options)), text);
}

}  // namespace
}  // namespace wattle
