#include "scheduler/daemon/daemon.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "common/error.h"
#include "scheduler/core/engine/state.h"
#include "scheduler/daemon/server.h"
#include "scheduler/digest/sha256.h"
#include "scheduler/rpc/wattle.grpc.pb.h"
#include "tests/support/scratch_folder.h"

namespace wattle::scheduler {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

constexpr const char* kYaml = "run: {output_dir: out}\njob: {ranks: {min: 1, max: 1}}\n";

/// An agent that does what it is told and says so, without running anything.
class ScriptedAgent {
 public:
  ScriptedAgent(const std::shared_ptr<grpc::Channel>& channel, const std::string& node)
      : stub_(v1::Agent::NewStub(channel)), stream_(stub_->Attach(&context_)) {
    v1::AgentMessage first;
    v1::Registration& registration = *first.mutable_registration();
    registration.set_node(node);
    v1::DeviceGroup& group = *registration.add_devices();
    group.set_type("cpu"), group.set_count(2), group.set_idle_watts(5);
    group.set_min_limit_watts(10), group.set_max_limit_watts(50), group.set_safe_watts(10);
    stream_->Write(first);
  }
  ~ScriptedAgent() {
    context_.TryCancel();
    stream_->Finish();
  }

  /// The next command of a kind; others before it are dropped.
  v1::Command await(v1::Command::BodyCase kind) {
    v1::Command command;
    while (stream_->Read(&command)) {
      if (command.body_case() == kind) return command;
    }
    ADD_FAILURE() << "the stream has ended";
    return {};
  }

  void acknowledge(int64_t sequence) {
    v1::AgentMessage message;
    message.mutable_acknowledged()->set_sequence(sequence);
    stream_->Write(message);
  }

  void store_checkpoint(int64_t token, const std::string& path, const std::string& text) {
    Sha256 digest;
    digest.add(text);
    v1::FileChunk chunk;
    v1::FileRef file, answer;
    file.set_path(path), file.set_sha256(digest.digits());
    file.set_size_bytes(static_cast<int64_t>(text.size()));
    *chunk.mutable_file() = file;
    chunk.set_data(text);
    grpc::ClientContext context;
    const auto writer = stub_->Store(&context, &answer);
    writer->Write(chunk);
    writer->WritesDone();
    EXPECT_TRUE(writer->Finish().ok());
    v1::AgentMessage message;
    message.mutable_measured()->set_token(token);
    *message.mutable_measured()->add_checkpoint() = file;
    stream_->Write(message);
  }

  void finish(int64_t token, double joules) {
    v1::AgentMessage started;
    started.mutable_run_started()->set_token(token);
    stream_->Write(started);
    v1::AgentMessage message;
    v1::RunExited& exited = *message.mutable_run_exited();
    exited.set_token(token), exited.set_joules(joules), exited.set_tokens(7);
    v1::SourceJoules& part = *exited.add_energy();
    part.set_source("estimated:model"), part.set_joules(joules);
    stream_->Write(message);
    await(v1::Command::kExitRecorded);
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<v1::Agent::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AgentMessage, v1::Command>> stream_;
};

class DaemonTest : public testing::Test {
 protected:
  DaemonTest() { start(); }
  ~DaemonTest() override { stop(); }

  void start() {
    ClusterOptions options;
    options.listen = "127.0.0.1:0";
    options.metrics_listen = "";
    options.state_dir = folder_.path("state");
    options.security.insecure_loopback = true;
    options.cap_watts = 200;
    options.reserve_bytes = 0;
    daemon_ = std::make_unique<Daemon>(options, [this] { return now_ += 0.001; });
    server_ = std::make_unique<Server>(*daemon_);
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()),
                                   grpc::InsecureChannelCredentials());
    jobs_ = v1::Jobs::NewStub(channel_);
    cluster_ = v1::Cluster::NewStub(channel_);
  }
  void stop() {
    server_.reset();
    daemon_.reset();
  }

  grpc::Status submit(const std::string& id, const std::string& yaml, v1::SubmitResponse& answer) {
    grpc::ClientContext context;
    v1::SubmitRequest request;
    request.set_request_id(id);
    request.set_yaml(yaml);
    return jobs_->Submit(&context, request, &answer);
  }
  grpc::Status submit(const std::string& yaml) {
    v1::SubmitResponse answer;
    return submit("x", yaml, answer);
  }

  v1::JobDetail show(int64_t job) {
    grpc::ClientContext context;
    v1::ShowRequest request;
    request.set_job(job);
    v1::JobDetail detail;
    const grpc::Status status = jobs_->Show(&context, request, &detail);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return detail;
  }

  void edit(const std::string& sql) { Database(folder_.path("state/wattle.db")).execute(sql); }
  /// As after a kill: the state of the end was not kept.
  void forget_the_end() { edit("DELETE FROM snapshot WHERE reason = 'end'"); }

  std::string journal() {
    std::string text;
    daemon_->core().read_store([&](Store& store) {
      store.journal().read(0,
                           [&](const JournalRecord& r) { text += r.event + "\n" + r.decisions; });
    });
    return text;
  }

  ScratchFolder folder_;
  std::atomic<double> now_ = 1.8e9;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Jobs::Stub> jobs_;
  std::unique_ptr<v1::Cluster::Stub> cluster_;
};

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
  EXPECT_EQ(agent.await(v1::Command::kRegistered).registered().lease_seconds(), 6);
  const v1::Launch launch = agent.await(v1::Command::kLaunch).launch();
  EXPECT_EQ(launch.yaml(), kYaml);
  EXPECT_EQ(launch.hosts(0).node(), "node-1");
  agent.acknowledge(launch.sequence());
  agent.finish(launch.token(), 250);
  const v1::JobDetail job = show(1);
  EXPECT_EQ(job.summary().state(), v1::JOB_STATE_COMPLETED);
  EXPECT_EQ(job.summary().joules(), 250);
  ASSERT_EQ(job.energy_size(), 1);
  EXPECT_EQ(job.energy(0).joules(), 250);
  EXPECT_EQ(job.tokens(), 7);
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
      {std::string(5000, '['), "YAML"},
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
  EXPECT_TRUE(daemon_->core().read([](const Core& core) { return core.state().jobs.empty(); }));
}

TEST_F(DaemonTest, AMessageBeyondTheLimitIsRefusedAndTheNextOneServed) {
  EXPECT_EQ(submit(std::string(100 << 20, 'x')).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  v1::SubmitResponse answer;
  EXPECT_TRUE(submit("b", kYaml, answer).ok());
}

TEST_F(DaemonTest, ACapBelowWhatIdles) {
  ScriptedAgent agent(channel_, "node-1");
  agent.await(v1::Command::kRegistered);
  grpc::ClientContext context;
  v1::SetCapRequest request;
  request.set_request_id("c");
  request.set_watts(3);
  v1::SetCapResponse response;
  const grpc::Status status = cluster_->SetCap(&context, request, &response);
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("10 W"));
}

}  // namespace
}  // namespace wattle::scheduler
