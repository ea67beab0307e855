#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "common/error.h"
#include "scheduler/core/engine/state.h"
#include "tests/scheduler/daemon/daemon_story.h"

namespace wattle::scheduler {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

TEST_F(DaemonTest, TheSameRequestAgainGivesTheSameAnswer) {
  v1::SubmitResponse first, again;
  ASSERT_TRUE(submit("a", kYaml, first).ok());
  ASSERT_TRUE(submit("a", kYaml, again).ok());
  EXPECT_EQ(first.jobs(0).job(), 1);
  EXPECT_EQ(first.SerializeAsString(), again.SerializeAsString());
}

TEST_F(DaemonTest, RunsAJobAndChargesItsJoules) {
  v1::SubmitResponse answer;
  ASSERT_TRUE(submit("a", kYaml, answer).ok());
  ScriptedAgent agent(channel_, "node-1");
  const v1::Registered registered = agent.await(v1::Command::kRegistered).registered();
  EXPECT_EQ(registered.lease_seconds(), 6);
  EXPECT_EQ(registered.log_bytes(), options_.log_bytes_per_run);
  const v1::Launch launch = agent.await(v1::Command::kLaunch).launch();
  EXPECT_EQ(launch.yaml(), kYaml);
  EXPECT_EQ(launch.hosts(0).node(), "node-1");
  agent.acknowledge(launch.sequence());
  agent.finish(launch.token(), 250);
  expect_finished(1, 250);
}

TEST_F(DaemonTest, ALaunchNamesTheStateDirItComesFrom) {
  const auto state_id = [this](const char* request) {
    v1::SubmitResponse answer;
    EXPECT_TRUE(submit(request, kYaml, answer).ok());
    ScriptedAgent agent(channel_, "node-1");
    const v1::Launch launch = agent.await(v1::Command::kLaunch).launch();
    agent.acknowledge(launch.sequence());
    agent.finish(launch.token(), 1);
    EXPECT_EQ(launch.request().substr(32), fmt::format(" default/{}", request));
    return launch.request().substr(0, 32);
  };
  const std::string first = state_id("a");
  EXPECT_THAT(first, testing::SizeIs(32));
  stop();
  start();
  EXPECT_EQ(state_id("b"), first);
  stop();
  std::filesystem::remove_all(folder_.path("state"));
  start();
  EXPECT_NE(state_id("a"), first);
}

TEST_F(DaemonTest, KeepsTheNewestCheckpointUntilTheJobEnds) {
  const auto contents = [this] {
    std::set<std::string> found;
    const std::filesystem::path folder = folder_.path("state/files");
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path());
      found.insert(std::string(std::istreambuf_iterator<char>(file), {}));
    }
    return found;
  };
  const auto become = [&](const std::set<std::string>& expected) {
    for (int i = 0; i < 300 && contents() != expected; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return contents();
  };
  v1::SubmitResponse answer;
  ASSERT_TRUE(submit("a", kYaml, answer).ok());
  ScriptedAgent agent(channel_, "node-1");
  const v1::Launch launch = agent.await(v1::Command::kLaunch).launch();
  agent.acknowledge(launch.sequence());
  agent.store_checkpoint(launch.token(), "out/step-1", "first");
  EXPECT_EQ(become({"first"}), std::set<std::string>{"first"});
  agent.store_checkpoint(launch.token(), "out/step-2", "second");
  EXPECT_EQ(become({"second"}), std::set<std::string>{"second"});
  agent.finish(launch.token(), 250);
  EXPECT_EQ(become({}), std::set<std::string>{});
}

TEST_F(DaemonTest, ARestartReplaysTheJournalToTheSameBytes) {
  v1::SubmitResponse answer;
  ASSERT_TRUE(submit("a", kYaml, answer).ok());
  {
    ScriptedAgent agent(channel_, "node-1");
    agent.await(v1::Command::kLaunch);
  }
  stop();
  forget_the_end();
  start();  // throws if a decision differs
  EXPECT_THAT(journal(), HasSubstr("\"decision\":\"start\""));
  EXPECT_THAT(journal(), HasSubstr("\"event\":\"node_lost\""));
  v1::SubmitResponse again;
  ASSERT_TRUE(submit("a", kYaml, again).ok());
  EXPECT_EQ(answer.SerializeAsString(), again.SerializeAsString());
}

TEST_F(DaemonTest, TimeGoesOnThoughTheClockWasSetBackMeanwhile) {
  v1::SubmitResponse answer;
  ASSERT_TRUE(submit("a", kYaml, answer).ok());
  stop();
  now_ = now_ - 1000;
  start();
  ASSERT_TRUE(submit("b", kYaml, answer).ok());
  now_ = now_ + 5;
  ASSERT_TRUE(submit("c", kYaml, answer).ok());
  daemon_->core().read([](const Core& core) {
    const auto& jobs = core.state().jobs;
    EXPECT_GE(jobs.at(2).submitted_seconds, jobs.at(1).submitted_seconds);
    EXPECT_GE(jobs.at(3).submitted_seconds,
              jobs.at(2).submitted_seconds + 5 * (1 - SteadyClock::kSlewBack) - 1e-3);
  });
}

TEST_F(DaemonTest, AJournalThatSaysSomethingElseIsRefused) {
  v1::SubmitResponse answer;
  ASSERT_TRUE(submit("a", kYaml, answer).ok());
  stop();
  forget_the_end();
  edit("UPDATE journal SET decisions = '' WHERE event LIKE '%submit%'");
  try {
    start();
    FAIL() << "started";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("can't be replayed"));
  }
}

TEST_F(DaemonTest, AWatchTellsOfTheJobsThatChangeAndOfNoOthers) {
  v1::SubmitResponse answer;
  for (const char* id : {"a", "b"}) ASSERT_TRUE(submit(id, kYaml, answer).ok());
  // The first plan says why they wait; after that nothing happens to them.
  while (show(2).summary().reason().empty()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_TRUE(submit("z", kYaml, answer).ok());  // what came before has been carried out then
  std::atomic<bool> is_heard = false;
  std::thread others([&] {  // until the watch has begun
    for (int n = 0; !is_heard; ++n) {
      v1::SubmitResponse ignored;
      EXPECT_TRUE(submit(fmt::format("c{}", n), kYaml, ignored).ok());
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  const auto stream = jobs_->Watch(&context, v1::WatchRequest());
  v1::WatchEvent event;
  ASSERT_TRUE(stream->Read(&event));
  is_heard = true;
  others.join();
  EXPECT_GT(event.job().job(), 2);
  EXPECT_EQ(event.job().state(), v1::JOB_STATE_PENDING);
  grpc::ClientContext cancelling;
  v1::CancelRequest cancel;
  cancel.set_job(2);
  v1::CancelResponse done;
  ASSERT_TRUE(jobs_->Cancel(&cancelling, cancel, &done).ok());
  while (event.job().job() != 2 && stream->Read(&event)) EXPECT_NE(event.job().job(), 1);
  EXPECT_EQ(event.job().state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(event.job().user(), "local");
  context.TryCancel();
  stream->Finish();
}

TEST_F(DaemonTest, OneDaemonWorksInAFolder) {
  ClusterOptions options = daemon_->options();
  EXPECT_THROW(Daemon(options, [] { return 1.8e9; }), Error);
}

TEST_F(DaemonTest, WhatCanNotBeRightIsRefusedAndNothingIsTaken) {
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'k'; ++c) {
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i) bomb += std::string(i ? ", *" : "*") + static_cast<char>(c - 1);
    bomb += "]\n";
  }
  const std::pair<std::string, const char*> cases[] = {
      {bomb, "nodes"},
      {std::string(5000, '['), "nested deeper"},
      {"a: [}", "YAML"},
      {"run: {output_dir: /etc}\n", "run.output_dir"},
      {"run: {output_dir: a/../../b}\n", "run.output_dir"},
      {"job: {ranks: {min: 4, max: 2}}\n", "max"},
      {"job: {prority: 3}\n", "priority"},
      {std::string(2 << 20, ' '), "bytes"},
  };
  for (const auto& [yaml, message] : cases) {
    const grpc::Status status = submit(yaml);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << yaml.substr(0, 60);
    EXPECT_THAT(status.error_message(), HasSubstr(message)) << yaml.substr(0, 60);
  }
  for (const char* cycle : {"model=&a [*a]", "model=&a {b: *a}", "job.sweep=&a {grid: *a}",
                            "job.sweep.grid.a.prompt=&a [*a]"}) {
    grpc::ClientContext context;
    v1::SubmitRequest request;
    v1::SubmitResponse answer;
    request.set_request_id("x"), request.set_yaml(kYaml), request.add_overrides(cycle);
    const grpc::Status status = jobs_->Submit(&context, request, &answer);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << cycle;
    EXPECT_THAT(status.error_message(), HasSubstr("is nested deeper than 32")) << cycle;
  }
  EXPECT_TRUE(daemon_->core().read([](const Core& core) { return core.state().jobs.empty(); }));
}

TEST_F(DaemonTest, NoJobNamesAPlaceThatIsNotItsOwn) {
  const std::string run = "run: {output_dir: out}\n";
  for (const char* text :
       {"data: {path: /var/lib/wattle/jobs/1/run.yaml}", "model: {init_from: ../1/run}",
        "export: [{path: /tmp/x}]", "compression: [{distil: {teacher: a/../../b}}]",
        "job: {sweep: {grid: {data.path: [ok.txt, /etc/passwd]}}}",
        "job: {sweep: {grid: {data: ['{path: ok.txt}', '{path: /etc/passwd}']}}}",
        "job: {sweep: {list: [{data: 'path: /etc/passwd'}]}}", "a: &a [/etc/passwd]\nb: {c: *a}",
        "data: {path: /shared/../etc}",
        "job: {sweep: {grid: {data: [{path: ok.txt}, {path: ../x}]}}}"}) {
    const grpc::Status status = submit(run + text);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << text;
    EXPECT_THAT(status.error_message(), HasSubstr("leaves the job's directory")) << text;
  }
  EXPECT_THAT(submit(run + "model:\n  family: mlp\njob:\n  rank: 1\n").error_message(),
              HasSubstr("job file:5:3: job.rank: unknown key"));
  EXPECT_THAT(submit(run + "export: [{}, {path: ../x}]").error_message(),
              HasSubstr("export.1.path: '../x'"));
  grpc::ClientContext context;
  v1::SubmitRequest request;
  v1::SubmitResponse answer;
  request.set_request_id("x"), request.set_yaml(run), request.add_overrides("data={path: /etc/x}");
  EXPECT_THAT(jobs_->Submit(&context, request, &answer).error_message(),
              HasSubstr("data.path: '/etc/x'"));
  EXPECT_THAT(submit(run + "job: {sweep: {list: [{'data.path=../1/x #': 1}]}}").error_message(),
              HasSubstr("job.sweep: 'data.path=../1/x #': expected a key"));
  EXPECT_THAT(submit(run + "job: {sweep: {grid: {data: ['{path: ../x}']}}}").error_message(),
              HasSubstr("job.sweep: data.path: '../x'"));
  const std::string shared = "data: {path: /shared/text.txt}\n";
  EXPECT_TRUE(submit(run + shared + "sample: {prompt: /think ..}\n").ok());
}

TEST_F(DaemonTest, AMessageBeyondTheLimitIsRefusedAndTheNextOneServed) {
  EXPECT_EQ(submit(std::string(100 << 20, 'x')).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  v1::SubmitResponse answer;
  EXPECT_TRUE(submit("b", kYaml, answer).ok());
}

/// Others lower their limits first, within the moments that the registration waits.
TEST_F(DaemonTest, ANodeThatWaitedForRoomGetsItsCommandsOnTheSameStream) {
  stop();
  cap_watts_ = 60;
  options_.policy.name = ClusterPolicyOptions::Name::kFifo;  // gives a job all that there is
  start();
  ScriptedAgent first(channel_, "node-1");
  v1::SubmitResponse answer;
  ASSERT_TRUE(submit("a", kYaml, answer).ok());
  const v1::Launch launch = first.await(v1::Command::kLaunch).launch();
  ASSERT_EQ(launch.limit_watts(), 50);  // 10 W are less than the devices of another node idle at
  first.acknowledge(launch.sequence());
  ScriptedAgent second(channel_, "node-2");
  first.acknowledge(first.await(v1::Command::kSetLimit).set_limit().sequence());
  EXPECT_EQ(second.await(v1::Command::kRegistered).registered().lease_seconds(), 6);
}

TEST_F(DaemonTest, WhatComesAfterAnEventThatThrewIsRefusedUntilTheNextStart) {
  EXPECT_THROW(daemon_->core().apply(Configured{"fastest", 0.5, 6, 20, 86400}), Error);
  const grpc::Status status = submit(kYaml);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), testing::HasSubstr("(configured)"));
  stop();
  start();
  EXPECT_TRUE(submit(kYaml).ok());
}

TEST_F(DaemonTest, NodesJoulesAreACounterThatGoesOnAfterARestart) {
  const std::string joules = R"(wattle_node_energy_joules_total{node="node-1",source=)";
  {
    ScriptedAgent agent(channel_, "node-1");
    agent.await(v1::Command::kRegistered);
    agent.draw(12.5, {{"measured:rapl", 100}, {"integrated:nvml", 40}});
    await_metric(joules + R"("integrated:nvml"} 40)");
    await_metric(joules + R"("measured:rapl"} 100)");
    await_metric(
        R"(wattle_device_power_watts{node="node-1",device="0",type="cpu",source="measured:rapl"} 12.5)");
  }
  stop();
  start();
  await_metric(joules + R"("measured:rapl"} 100)");
  ScriptedAgent agent(channel_, "node-1");
  agent.await(v1::Command::kRegistered);
  agent.draw(12.5, {{"measured:rapl", 130}});
  await_metric(joules + R"("measured:rapl"} 130)");
}

TEST_F(DaemonTest, CountsJobsByState) {
  await_metric("wattle_jobs{state=\"PENDING\"} 0");
  v1::SubmitResponse answer;
  for (const char* request : {"x", "y", "z"}) EXPECT_TRUE(submit(request, kYaml, answer).ok());
  const auto count = [this](int pending, int cancelled) {
    await_metric(fmt::format("wattle_jobs{{state=\"PENDING\"}} {}", pending));
    await_metric(fmt::format("wattle_jobs{{state=\"CANCELLED\"}} {}", cancelled));
  };
  count(3, 0);
  daemon_->core().apply(scheduler::Cancel{2});
  count(2, 1);
  stop();
  start();
  count(2, 1);
  daemon_->core().apply(Configured{"energy", 0, 6, 20, /*history_seconds=*/0, 0});
  count(2, 0);
}

TEST_F(DaemonTest, TellsOfAStateThatCanNotBeKept) {
  await_metric("wattle_snapshot_failures_total 0");
  EXPECT_THAT(prometheus_text(*daemon_), Not(HasSubstr("\nwattle_snapshot_age_seconds ")))
      << "none is kept yet";
  stop();
  edit(
      "UPDATE snapshot SET program = 'older'; CREATE TRIGGER full BEFORE INSERT ON snapshot_piece "
      "BEGIN SELECT RAISE(ABORT, 'too big'); END");
  start();
  await_metric("wattle_snapshot_failures_total 1");
  await_metric("wattle_snapshot_age_records 1");
  EXPECT_TRUE(submit(kYaml).ok()) << "it works on";
  await_metric("wattle_snapshot_age_records 2");
}

TEST_F(DaemonTest, TheFileSaysHowMuchIsKeptOfEndedJobs) {
  const auto bytes = [this] {
    return daemon_->core().read(
        [](const Core& core) { return core.state().options.history_bytes; });
  };
  EXPECT_EQ(bytes(), 64'000'000);
  stop();
  options_.history_megabytes = 10;
  start();
  EXPECT_EQ(bytes(), 10'000'000);
}

}  // namespace
}  // namespace wattle::scheduler
