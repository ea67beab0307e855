#include <chrono>
#include <fstream>
#include <limits>
#include <thread>

#include "scheduler/core/engine/state.h"
#include "tests/scheduler/daemon/daemon_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// What agents say of runs, their own and others'.
class AgentReports : public DaemonTest {
 protected:
  /// Launches job 1 on an agent.
  v1::Launch launch(ScriptedAgent& agent) {
    v1::SubmitResponse answer;
    EXPECT_TRUE(submit("a", kYaml, answer).ok());
    v1::Launch launch = agent.await(v1::Command::kLaunch).launch();
    agent.acknowledge(launch.sequence());
    return launch;
  }

  static v1::AgentMessage measured(int64_t token, double joules, const std::string& source) {
    v1::AgentMessage message;
    v1::Measured& measured = *message.mutable_measured();
    measured.set_token(token), measured.set_joules(joules), measured.set_tokens(joules);
    measured.set_metrics("{}");
    v1::SourceJoules& part = *measured.add_energy();
    part.set_source(source), part.set_joules(joules);
    return message;
  }

  static v1::AgentMessage exited(int64_t token, double joules) {
    v1::AgentMessage message;
    v1::RunExited& exited = *message.mutable_run_exited();
    exited.set_token(token), exited.set_joules(joules), exited.set_blameless(true);
    v1::SourceJoules& part = *exited.add_energy();
    part.set_source("estimated:model"), part.set_joules(joules);
    return message;
  }

  static v1::AgentMessage log(int64_t token, const std::string& text) {
    v1::AgentMessage message;
    v1::LogChunk& chunk = *message.mutable_log_chunk();
    chunk.set_token(token), chunk.set_data(text);
    return message;
  }

  int64_t events() {
    return daemon_->core().read([](const Core& core) { return core.state().events; });
  }
};

TEST_F(AgentReports, OfRunsThatOthersHoldCountForNothing) {
  ScriptedAgent holder(channel_, "node-1");
  holder.await(v1::Command::kRegistered);
  const v1::Launch run = launch(holder);
  ScriptedAgent other(channel_, "node-2");
  other.await(v1::Command::kRegistered);
  other.say(measured(run.token(), 5e9, "estimated:model"));
  other.say(log(run.token(), "not the run's"));
  other.say(exited(run.token(), 5e9));
  other.await(v1::Command::kExitRecorded);
  EXPECT_EQ(daemon_->logs().size(1, run.token()), 0);
  EXPECT_EQ(daemon_->reading(run.token()).metrics, "");
  holder.finish(run.token(), 250);
  expect_finished(1, 250);
}

TEST_F(AgentReports, ThatCanNotBeRightEndTheStream) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  v1::AgentMessage sample;
  sample.mutable_power_sample()->add_devices()->set_watts(-1);
  v1::AgentMessage line = measured(1, 1, "estimated:model");
  line.mutable_measured()->set_metrics(std::string(70000, 'x'));
  v1::AgentMessage sum = measured(1, 1, "estimated:model");
  sum.mutable_measured()->set_joules(2);
  const std::pair<v1::AgentMessage, std::string> messages[] = {
      {sum, "Measured.joules: expected the sum of its sources, 1 J, got 2 J"},
      {measured(1, 1, kLostNodeSource), "got 'estimated:lost-node'"},
      {measured(1, 1, "guessed"), "got 'guessed'"},
      {measured(1, kNaN, "estimated:model"), "Measured.joules: expected a finite number"},
      {sample, "PowerSample.Device.watts: expected a finite number of at least 0, got -1"},
      {line, "measured.metrics: expected at most 65536 bytes, got 70000"}};
  for (const auto& [message, words] : messages) {
    ScriptedAgent agent(channel_, "node-1");
    agent.await(v1::Command::kRegistered);
    agent.say(message);
    const grpc::Status status = agent.end();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(words));
  }
}

TEST_F(AgentReports, OfWhatARunPrintsAreLeftOutWhereTheyCanNotBeWritten) {
  ScriptedAgent agent(channel_, "node-1");
  const v1::Launch run = launch(agent);
  std::ofstream(folder_.path("state/logs/1")) << "in the way";
  for (int i = 0; i < 3; ++i) agent.say(log(run.token(), "a piece"));
  agent.finish(run.token(), 250);
  expect_finished(1, 250);
  EXPECT_EQ(daemon_->logs().size(1, run.token()), 0);
}

/// While the store takes nothing, an agent is heard no further than a little ahead of it.
TEST_F(AgentReports, ThatCanNotBeWrittenDownYetWait) {
  ScriptedAgent agent(channel_, "node-1");
  const v1::Launch run = launch(agent);
  agent.say(measured(run.token(), 1, "estimated:model"));
  daemon_->core().settle();
  const int64_t before = events();
  daemon_->core().read_store([&](Store&) {
    for (int i = 0; i < 500; ++i) agent.say(measured(run.token(), 2 + i, "estimated:model"));
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    EXPECT_LE(events() - before, 70);
  });
  agent.finish(run.token(), 600);
  EXPECT_GE(events() - before, 500);
  EXPECT_EQ(show(1).summary().joules(), 600);
}

}  // namespace
}  // namespace wattle::scheduler
