#include "scheduler/agent/runs/run_record.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "scheduler/agent/processes/process.h"
#include "tests/support/scratch_folder.h"

namespace wattle::agent {
namespace {

TEST(RunRecordOfAnEarlierBoot, KeepsJoulesAndForgetsTheClock) {
  ScratchFolder folder;
  RunRecord record;
  record.stop_began = 2e6;
  record.energy = {1e6, 7, {{"measured:rapl", 500}}, {{"rapl:0/package-0", 9000}}};
  create(folder.path("run"), record);
  EXPECT_EQ(load(folder.path("run")).energy.at, 1e6);
  EXPECT_EQ(load(folder.path("run")).stop_began, 2e6);

  auto state = nlohmann::json::parse(folder.content("run/state.json"));
  state["boot"] = "another";
  folder.put("run/state.json", state.dump());
  const RunRecord after = load(folder.path("run"));
  EXPECT_EQ(after.energy.at, 0);
  EXPECT_EQ(after.energy.cpu_seconds, 0);
  EXPECT_TRUE(after.energy.readings.empty());
  EXPECT_EQ(after.energy.total(), 500);
  EXPECT_NEAR(after.stop_began, boot_seconds(), 60) << "it is to be stopped still";
}

}  // namespace
}  // namespace wattle::agent
