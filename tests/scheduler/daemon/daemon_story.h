#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "scheduler/daemon/daemon.h"
#include "scheduler/daemon/metrics.h"
#include "scheduler/daemon/server.h"
#include "scheduler/digest/sha256.h"
#include "scheduler/rpc/agent.grpc.pb.h"
#include "scheduler/rpc/wattle.grpc.pb.h"
#include "tests/support/scratch_folder.h"

namespace wattle::scheduler {

inline constexpr const char* kYaml = "run: {output_dir: out}\njob: {ranks: {min: 1, max: 1}}\n";

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
    if (is_over_) return;
    context_.TryCancel();
    stream_->Finish();
  }

  /// Waits until the daemon ends the stream, and says how.
  grpc::Status end() {
    v1::Command command;
    while (stream_->Read(&command)) {
    }
    is_over_ = true;
    return stream_->Finish();
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

  void say(const v1::AgentMessage& message) { stream_->Write(message); }

  void acknowledge(int64_t sequence) {
    v1::AgentMessage message;
    message.mutable_acknowledged()->set_sequence(sequence);
    stream_->Write(message);
  }

  /// What the node has used since its agent began, and its first device draws now.
  void draw(double watts, const std::map<std::string, double>& joules) {
    v1::AgentMessage message;
    v1::PowerSample& sample = *message.mutable_power_sample();
    sample.set_watts(watts), sample.set_agent_began(1);
    for (const auto& [source, used] : joules) {
      v1::SourceJoules& part = *sample.add_energy();
      part.set_source(source), part.set_joules(used);
    }
    v1::PowerSample::Device& device = *sample.add_devices();
    device.set_watts(watts), device.set_source(joules.rbegin()->first);
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

  void fail(int64_t token, const std::string& error) {
    v1::AgentMessage message;
    v1::RunExited& exited = *message.mutable_run_exited();
    exited.set_token(token), exited.set_exit_code(1), exited.set_error(error);
    stream_->Write(message);
    await(v1::Command::kExitRecorded);
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
  bool is_over_ = false;
  grpc::ClientContext context_;
  std::unique_ptr<v1::Agent::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AgentMessage, v1::Command>> stream_;
};

/// A daemon without TLS on a port of its own, and users' words for what they ask of it.
class DaemonTest : public testing::Test {
 protected:
  DaemonTest() {
    options_.reserve_bytes = 0;
    start();
  }
  ~DaemonTest() override { stop(); }

  void start() {
    ClusterOptions options = options_;
    options.listen = "127.0.0.1:0";
    options.metrics_listen = "";
    options.state_dir = folder_.path("state");
    options.security.insecure_loopback = true;
    options.cap_watts = cap_watts_;
    options.shared_paths = {"/shared"};
    daemon_ = std::make_unique<Daemon>(
        options, [this] { return now_ += 0.001; }, [this] { return now_ - machine_is_behind_; });
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

  /// A job is completed as ScriptedAgent::finish() told it, with nothing besides.
  void expect_finished(int64_t id, double joules) {
    const v1::JobDetail job = show(id);
    EXPECT_EQ(job.summary().state(), v1::JOB_STATE_COMPLETED);
    EXPECT_EQ(job.summary().joules(), joules);
    ASSERT_EQ(job.energy_size(), 1);
    EXPECT_EQ(job.energy(0).joules(), joules);
    EXPECT_EQ(job.tokens(), 7);
  }

  /// Waits for a line of /metrics.
  void await_metric(const std::string& line) {
    std::string page;
    for (int tries = 0; tries < 500; ++tries) {
      page = prometheus_text(*daemon_);
      if (page.find(line + "\n") != std::string::npos) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ADD_FAILURE() << line << " is not there:\n" << page;
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

  ClusterOptions options_;  ///< of the next start
  ScratchFolder folder_;
  std::atomic<double> now_ = 1.8e9;
  std::atomic<double> machine_is_behind_ = 0;
  double cap_watts_ = 200;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Jobs::Stub> jobs_;
  std::unique_ptr<v1::Cluster::Stub> cluster_;
};

}  // namespace wattle::scheduler
