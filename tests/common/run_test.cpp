#include <gmock/gmock.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "common/error.h"
#include "common/run/metrics.h"
#include "common/run/progress.h"

namespace wattle {
namespace {

using testing::HasSubstr;
using testing::Not;

class MetricsFile : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  const std::string path_ = testing::TempDir() + "metrics_" + std::to_string(getpid()) + ".jsonl";
};

MetricsRecord record(int64_t step) {
  MetricsRecord r;
  r.step = step;
  r.loss = 1.5;
  r.energy_joules = 3.25;
  r.energy_source = "estimated:model";
  return r;
}

TEST_F(MetricsFile, WhatIsAppendedReadsBack) {
  {
    MetricsWriter writer(path_);
    writer.append(record(1));
  }
  MetricsWriter(path_).append(record(2));
  const auto records = read_metrics(path_);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[1].to_json(), record(2).to_json());
  EXPECT_THAT(records[1].to_json(), Not(HasSubstr("grad_norm"))) << "absent values are left out";
}

TEST_F(MetricsFile, ALineThatACrashCutOffIsLeftOutAndDoesNotSpoilTheNext) {
  MetricsWriter(path_).append(record(1));
  std::ofstream(path_, std::ios::app) << "{\"phase\":\"tra";
  MetricsWriter(path_).append(record(3));
  const auto records = read_metrics(path_);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[1].step, 3);
}

TEST_F(MetricsFile, AWholeLineThatIsNoRecordIsNamed) {
  MetricsWriter(path_).append(record(1));
  std::ofstream(path_, std::ios::app) << "xx}\n";
  try {
    read_metrics(path_);
    FAIL() << "read";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kFormat);
    EXPECT_THAT(e.what(), HasSubstr(path_ + ":2: expected a metrics record, got 'xx}'"));
  }
}

TEST_F(MetricsFile, ALossThatIsNotFiniteIsKept) {
  MetricsRecord r = record(1);
  r.loss = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(*MetricsRecord::from_json(r.to_json()).loss));
}

TEST(MetricsWriter, AFolderThatIsNotThereIsAnError) {
  EXPECT_THROW(MetricsWriter("/no/such/folder/metrics.jsonl"), Error);
}

ProgressStatus half_way() {
  ProgressStatus s;
  s.step = 50;
  s.steps = 100;
  s.loss = 2.34567;
  s.rate = 5120;
  s.power_watts = 61.4;
  s.energy_joules = 12345;
  s.seconds_left = 65;
  return s;
}

TEST(Progress, SaysWhatTheRunDoesAndMarksEstimates) {
  EXPECT_EQ(plain_line(half_way()),
            "step 50/100  loss 2.3457  5120 tok/s  ~61 W  ~12.3 kJ  1:05 left");
  ProgressStatus measured = half_way();
  measured.energy_is_estimated = false;
  EXPECT_THAT(plain_line(measured), HasSubstr("  61 W  12.3 kJ"));
}

TEST(Progress, WithoutAMeterItNeverShowsAZero) {
  ProgressStatus s = half_way();
  s.power_watts.reset();
  s.energy_joules.reset();
  EXPECT_THAT(plain_line(s), HasSubstr("watts unavailable"));
}

TEST(Progress, FitsTheTerminal) {
  for (int width = 20; width < 200; ++width) {
    int columns = 0;
    for (char c : progress_line(half_way(), width)) columns += (c & 0xC0) != 0x80;
    EXPECT_LT(columns, width);
  }
}

TEST(Progress, PlainLinesAreFewAndTheLastIsThere) {
  std::ostringstream out;
  Progress progress(out, 0);
  ProgressStatus s = half_way();
  for (s.step = 1; s.step <= s.steps; ++s.step) progress.update(s);
  EXPECT_THAT(out.str(), HasSubstr("step 1/100"));
  EXPECT_THAT(out.str(), HasSubstr("step 100/100"));
  const std::string text = out.str();
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 5);
}

}  // namespace
}  // namespace wattle
