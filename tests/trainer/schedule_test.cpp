#include "trainer/state/optimizer/schedule.h"

#include <gmock/gmock.h>

#include <cmath>

#include "common/config/config_file.h"
#include "trainer/state/optimizer/optimizer_options.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

LearningRateSchedule schedule(ScheduleKind kind, int64_t total = 101, int64_t warmup = 0) {
  return {
      {.kind = kind, .warmup_steps = warmup, .final_ratio = 0.1, .decay_steps = {}}, 2.0, total};
}

TEST(Schedule, WarmsUpLinearlyToThePeak) {
  for (ScheduleKind kind : {ScheduleKind::kConstant, ScheduleKind::kCosine, ScheduleKind::kLinear,
                            ScheduleKind::kWarmupStableDecay}) {
    const LearningRateSchedule s = schedule(kind, 100, 4);
    EXPECT_THAT((std::vector<double>{s.at(0), s.at(1), s.at(3), s.at(4)}),
                ElementsAre(0.5, 1.0, 2.0, 2.0));
  }
}

TEST(Schedule, EndsAtTheFinalRatioAndStaysThere) {
  for (ScheduleKind kind :
       {ScheduleKind::kCosine, ScheduleKind::kLinear, ScheduleKind::kWarmupStableDecay}) {
    const LearningRateSchedule s = schedule(kind);
    EXPECT_NEAR(s.at(100), 0.2, 1e-12);
    EXPECT_NEAR(s.at(1000), 0.2, 1e-12);
    for (int64_t step = 0; step < 100; ++step) EXPECT_GE(s.at(step), s.at(step + 1));
  }
  EXPECT_EQ(schedule(ScheduleKind::kConstant).at(1000), 2.0);
}

TEST(Schedule, FallsInItsOwnShape) {
  EXPECT_NEAR(schedule(ScheduleKind::kCosine).at(25), 0.2 + 1.8 * 0.8535533905932737, 1e-12);
  EXPECT_NEAR(schedule(ScheduleKind::kLinear).at(25), 0.2 + 1.8 * 0.75, 1e-12);
  const LearningRateSchedule wsd = schedule(ScheduleKind::kWarmupStableDecay);
  EXPECT_EQ(wsd.at(81), 2.0);  // the last 20 of 101 steps fall
  EXPECT_NEAR(wsd.at(81 + 19), 0.2, 1e-12);
  EXPECT_NEAR(wsd.at(86), 0.2 + 1.8 * (1 - std::sqrt(5.0 / 19)), 1e-12);
}

TEST(Schedule, RunsOfOneStepOrAllWarmUpAreFinite) {
  EXPECT_NEAR(schedule(ScheduleKind::kCosine, 1).at(0), 0.2, 1e-12);
  EXPECT_NEAR(schedule(ScheduleKind::kLinear, 3, 3).at(2), 2.0, 1e-12);
  EXPECT_NEAR(schedule(ScheduleKind::kLinear, 3, 9).at(2), 2.0 / 3, 1e-12);
}

struct Reading {
  OptimizerOptions options;
  Diagnostics diagnostics;
  explicit Reading(const std::string& text) {
    Fields fields = fields_of(options);
    read_config_text(text, "run.yaml", fields, {}, diagnostics);
  }
};

TEST(OptimizerOptions, ReadsAllOfIt) {
  const Reading r(
      "name: sgd\nlr: 0.1\nmomentum: 0.8\nnesterov: true\nweight_decay: 0.2\n"
      "schedule: {kind: wsd, warmup_steps: 3, final_ratio: 0, decay_steps: 9}\n");
  ASSERT_THAT(r.diagnostics.errors(), ElementsAre());
  EXPECT_EQ(r.options.name, OptimizerName::kSgd);
  EXPECT_EQ(r.options.schedule.decay_steps, 9);
  EXPECT_EQ(r.options.resolved_weight_decay(), 0.2);
}

TEST(OptimizerOptions, WeightDecayDefaultsByName) {
  EXPECT_EQ(Reading("lr: 0.1\n").options.resolved_weight_decay(), 0.01);
  EXPECT_EQ(Reading("name: sgd\n").options.resolved_weight_decay(), 0);
}

TEST(OptimizerOptions, WhatCannotBeHonouredIsAnError) {
  EXPECT_THAT(Reading("betas: [0.9]\n").diagnostics.errors(),
              ElementsAre(HasSubstr("betas: expected two numbers")));
  EXPECT_THAT(Reading("betas: [0.9, 1.0]\n").diagnostics.errors().size(), 1u);
  EXPECT_THAT(Reading("name: sgd\neps: 0.1\n").diagnostics.errors(),
              ElementsAre(HasSubstr("eps: sgd has no such setting")));
  EXPECT_THAT(Reading("momentum: 0.5\n").diagnostics.errors(),
              ElementsAre(HasSubstr("momentum: only sgd")));
  EXPECT_THAT(Reading("schedule: {kind: cosine, decay_steps: 5}\n").diagnostics.errors(),
              ElementsAre(HasSubstr("schedule.decay_steps: only the schedule wsd")));
  EXPECT_THAT(Reading("schedule: {final_ratio: 0.5}\n").diagnostics.errors(),
              ElementsAre(HasSubstr("schedule.final_ratio: the constant schedule")));
}

}  // namespace
}  // namespace wattle
