#include "scheduler/config/agent_options.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "common/config/config_file.h"
#include "common/error.h"
#include "tests/support/scratch_folder.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

constexpr const char* kLeast = R"(name: gpu-1
work_dir: /var/lib/wattle-agent
scheduler: head.lab.example:7443
tls: {ca: ca.crt, cert: node-gpu-1.crt, key: node-gpu-1.key}
)";

class AgentOptionsTest : public testing::Test {
 protected:
  AgentOptions read(const std::string& text) {
    return read_agent_options(folder_.put("agent.yaml", text));
  }

  std::string fault(const std::string& more) {
    try {
      read(kLeast + more);
      return "";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kConfig);
      return e.what();
    }
  }

  ScratchFolder folder_;
};

TEST_F(AgentOptionsTest, FindsDevicesByItselfUnlessTheyAreListed) {
  EXPECT_TRUE(read(kLeast).devices.empty());
  EXPECT_TRUE(read(std::string(kLeast) + "devices: auto\n").devices.empty());
  const AgentOptions options = read(std::string(kLeast) +
                                    "devices:\n"
                                    "  - {type: V100, count: 8, idle_watts: 25, max_watts: 250}\n"
                                    "  - {type: cpu, max_watts: 90, safe_limit_watts: 30}\n");
  ASSERT_EQ(options.devices.size(), 2);
  EXPECT_EQ(options.devices[0].count, 8);
  EXPECT_EQ(options.devices[0].idle_watts, 25);
  EXPECT_FALSE(options.devices[0].safe_limit_watts.has_value());
  EXPECT_EQ(options.devices[1].count, 1);
  EXPECT_EQ(options.devices[1].safe_limit_watts, 30);
}

TEST_F(AgentOptionsTest, NamesTheLineAndTheDeviceOfAMistake) {
  EXPECT_THAT(fault("devices: [{type: V100, max_watts: 250}, {typ: V100}]\n"),
              HasSubstr("agent.yaml:5:10: devices: 1: unknown key 'typ' (did you mean 'type'?)"));
  EXPECT_THAT(fault("devices: [{type: V100, max_watts: much}]\n"),
              HasSubstr("devices: 0: max_watts: has the wrong type: much"));
  EXPECT_THAT(fault("devices: all\n"), HasSubstr("expected auto, or a list"));
  EXPECT_THAT(fault("devices: []\n"), HasSubstr("expected auto, or a list"));
}

TEST_F(AgentOptionsTest, RefusesDevicesThatCanNotBe) {
  EXPECT_EQ(fault("devices: [{type: a, idle_watts: 5, max_watts: 50}]\n"), "");
  EXPECT_THAT(fault("devices: [{max_watts: 50}]\n"), HasSubstr("type: is required"));
  EXPECT_THAT(fault("devices: [{type: a, count: 0, max_watts: 50}]\n"), HasSubstr("count"));
  EXPECT_THAT(fault("devices: [{type: a, idle_watts: 50, max_watts: 50}]\n"),
              HasSubstr("0 <= idle_watts < max_watts, got 50 and 50"));
  EXPECT_THAT(fault("devices: [{type: a, max_watts: .nan}]\n"),
              HasSubstr("idle_watts < max_watts"));
  EXPECT_THAT(fault("devices: [{type: a, idle_watts: 5, max_watts: 50, safe_limit_watts: 5}]\n"),
              HasSubstr("safe_limit_watts"));
  EXPECT_THAT(fault("devices: [{type: a, idle_watts: 5, max_watts: 50, safe_limit_watts: 51}]\n"),
              HasSubstr("safe_limit_watts"));
}

TEST_F(AgentOptionsTest, TakesAsManyDevicesAsTheDaemonTakes) {
  const auto devices = [](int first, int second) {
    return fmt::format(
        "devices:\n"
        "  - {{type: a, count: {}, max_watts: 50}}\n"
        "  - {{type: b, count: {}, max_watts: 50}}\n",
        first, second);
  };
  EXPECT_EQ(fault(devices(1000, 24)), "");
  EXPECT_THAT(fault(devices(1025, 1)),
              HasSubstr("agent.yaml:6:3: devices: 0: count: expected 1 to 1024, got 1025"));
  EXPECT_THAT(fault(devices(1000, 25)),
              HasSubstr("devices: 1: count: expected at most 1024 devices of all types, got 1025"));
}

TEST_F(AgentOptionsTest, ATraceNeedsItsMeterAndTheOtherWayRound) {
  EXPECT_EQ(fault("meter: trace\ntrace_path: power.csv\n"), "");
  EXPECT_THAT(fault("meter: trace\n"), HasSubstr("trace_path: is required"));
  EXPECT_THAT(fault("trace_path: power.csv\n"), HasSubstr("trace_path"));
}

TEST_F(AgentOptionsTest, NeedsANameAFolderAndCertificates) {
  try {
    read("{}\n");
    FAIL() << "taken";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("name: is required"));
    EXPECT_THAT(e.what(), HasSubstr("work_dir: is required"));
  }
  EXPECT_THAT(fault("limits: {open_files: 0}\n"), HasSubstr("limits.open_files"));
}

TEST_F(AgentOptionsTest, WhatIsWrittenReadsBackTheSame) {
  for (const char* devices :
       {"", "devices: [{type: a, count: 2, idle_watts: 5, max_watts: 50}]\n"}) {
    AgentOptions options = read(std::string(kLeast) + devices);
    const std::string once = write_config(fields_of(options));
    AgentOptions again = read(once);
    EXPECT_EQ(write_config(fields_of(again)), once);
  }
}

}  // namespace
}  // namespace wattle::scheduler
