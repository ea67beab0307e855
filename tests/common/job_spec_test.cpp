#include "common/job_spec.h"

#include <gmock/gmock.h>

#include "common/config/config_file.h"
#include "common/error.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Reads the text below `job:`.
struct Reading {
  JobSpec spec;
  Diagnostics diagnostics;
  explicit Reading(const std::string& text) {
    Fields fields = fields_of(spec);
    read_config_text(text, "run.yaml", fields, {}, diagnostics);
  }
  std::string error() const { return diagnostics.ok() ? "" : diagnostics.errors().front(); }
};

TEST(JobSpec, ReadsEveryKey) {
  Reading r(
      "tenant: team-a\npriority: 5\nranks: {min: 2, max: 8}\ndeadline: 2026-11-24T08:00:00Z\n"
      "energy_budget_joules: 5e4\nafter: [prepare, '12']\n"
      "sweep: {grid: {optimizer.lr: [1e-3, 3e-4], data.path: [a, b]}}\n");
  ASSERT_EQ(r.error(), "");
  EXPECT_EQ(r.spec.ranks.max, 8);
  EXPECT_THAT(r.spec.after, ElementsAre("prepare", "12"));
  EXPECT_THAT(expand_sweep(r.spec.sweep),
              ElementsAre(ElementsAre("optimizer.lr=1e-3", "data.path=a"),
                          ElementsAre("optimizer.lr=1e-3", "data.path=b"),
                          ElementsAre("optimizer.lr=3e-4", "data.path=a"),
                          ElementsAre("optimizer.lr=3e-4", "data.path=b")));
}

TEST(JobSpec, AListSweepsItsEntries) {
  Reading r("sweep:\n  list:\n    - {lr: 1}\n    - {lr: 2, betas: [0.9, 0.95]}\n");
  ASSERT_EQ(r.error(), "");
  EXPECT_THAT(expand_sweep(r.spec.sweep),
              ElementsAre(ElementsAre("lr=1"), ElementsAre("lr=2", "betas=[0.9, 0.95]")));
}

TEST(JobSpec, MostRanksAreTheFewestWhereNotGiven) {
  EXPECT_EQ(Reading("ranks: {min: 4}\n").spec.ranks.max, 4);
}

TEST(JobSpec, NamesWhatIsWrong) {
  EXPECT_THAT(Reading("ranks: {min: 4, max: 2}\n").error(),
              HasSubstr("ranks.max: expected at least"));
  EXPECT_THAT(Reading("deadline: tomorrow\n").error(), HasSubstr("expected a time in UTC"));
  EXPECT_THAT(Reading("sweep: {grid: {lr: 1}}\n").error(), HasSubstr("grid: lr: expected a list"));
  EXPECT_THAT(Reading("sweep: {random: 3}\n").error(), HasSubstr("expected either grid"));
  std::string many = "sweep: {grid: {";
  for (char key = 'a'; key < 'f'; ++key) many += std::string(1, key) + ": [0,1,2,3,4,5,6,7,8,9], ";
  EXPECT_THAT(Reading(many + "}}\n").error(), HasSubstr("at most 10000"));
}

/// What follows the first '=' of an override is its value.
TEST(JobSpec, AKeyOfASweepIsAKeyAlone) {
  for (const char* key : {"data.path=../1/secret.txt #", "", ".lr", "lr.", "a..b", "a b", "a\nb"}) {
    Sweep grid, list;
    grid.grid = {{key, {"1"}}};
    list.list = {{{"lr", "1"}, {key, "1"}}};
    EXPECT_THROW(expand_sweep(grid), Error) << key;
    EXPECT_THROW(expand_sweep(list), Error) << key;
  }
  EXPECT_THAT(Reading("sweep: {list: [{'export.0.path=/x #': 1}]}\n").error(),
              HasSubstr("sweep: 'export.0.path=/x #': expected a key as in train.steps"));
  EXPECT_EQ(Reading("sweep: {grid: {export.0.Path_2: [1]}}\n").error(), "");
}

TEST(JobSpec, NamesWhatIsMoreThanIsTaken) {
  EXPECT_THAT(Reading("ranks: {min: 1, max: 2147483647}\n").error(),
              HasSubstr("ranks.max: expected at most 65536, got 2147483647"));
  EXPECT_THAT(Reading("ranks: {min: 4294967297}\n").error(),
              HasSubstr("ranks.min: expected at most 65536, got 4294967297"));
  EXPECT_THAT(Reading("tenant: " + std::string(201, 't') + "\n").error(),
              HasSubstr("tenant: expected at most 200 bytes, got 201"));
  EXPECT_THAT(Reading("sweep: {grid: {lr: [" + std::string(5000, '1') + "]}}\n").error(),
              HasSubstr("a key and its value have 5003 bytes, at most 4096"));
}

TEST(JobSpec, WhatIsWrittenReadsBackTheSame) {
  Reading first("sweep: {list: [{lr: 1e-3}, {lr: 2, betas: [1, 2]}]}\nafter: [x]\n");
  const std::string text = write_config(fields_of(first.spec));
  Reading second(text);
  ASSERT_EQ(second.error(), "") << text;
  EXPECT_EQ(expand_sweep(second.spec.sweep), expand_sweep(first.spec.sweep));
}

TEST(UtcTime, CountsSecondsSince1970) {
  EXPECT_EQ(parse_utc_time("1970-01-02T00:00:01Z"), 86401);
  EXPECT_EQ(parse_utc_time("2026-11-24T08:00Z"), 1795507200);
  for (const char* wrong : {"2026-11-24T08:00:00", "2026-02-30T00:00Z", "2026-11-24T25:00Z", "x"}) {
    EXPECT_EQ(parse_utc_time(wrong), std::nullopt) << wrong;
  }
}

}  // namespace
}  // namespace wattle
