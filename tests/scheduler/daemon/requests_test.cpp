#include <filesystem>
#include <ranges>

#include "tests/scheduler/daemon/daemon_story.h"

// What users may not do to the daemon's disk, threads and memory.

namespace wattle::scheduler {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;
using testing::SizeIs;

class RequestsTest : public DaemonTest {
 protected:
  void restart_with(const std::function<void(ClusterOptions&)>& change) {
    stop();
    change(options_);
    start();
  }

  /// A file on its way in: announced, and then nothing.
  struct Upload {
    grpc::ClientContext context;
    v1::FileRef answer;
    std::unique_ptr<grpc::ClientWriter<v1::FileChunk>> writer;
  };
  std::unique_ptr<Upload> begin_upload(int64_t size_bytes) {
    auto upload = std::make_unique<Upload>();
    upload->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    upload->writer = jobs_->Upload(&upload->context, &upload->answer);
    v1::FileChunk chunk;
    chunk.mutable_file()->set_path("data");
    chunk.mutable_file()->set_sha256(std::string(64, '0'));
    chunk.mutable_file()->set_size_bytes(size_bytes);
    upload->writer->Write(chunk);
    return upload;
  }

  int64_t database_bytes() {
    int64_t bytes = 0;
    for (const char* file : {"state/wattle.db", "state/wattle.db-wal"}) {
      bytes += static_cast<int64_t>(std::filesystem::file_size(folder_.path(file)));
    }
    return bytes;
  }

  std::vector<AuditRecord> audit() {
    std::vector<AuditRecord> records;
    Database database(folder_.path("state/wattle.db"));
    Statement read(database, "SELECT time_seconds, who, what, outcome FROM audit ORDER BY number");
    while (read.step()) {
      records.push_back({read.number(0), read.text(1), read.text(2), read.text(3)});
    }
    return records;
  }
};

TEST_F(RequestsTest, AnUploadThatTheDiskHasNoRoomForIsRefusedAtOnce) {
  const auto free = static_cast<int64_t>(std::filesystem::space(folder_.path("")).available);
  constexpr int64_t kMost = int64_t{64} << 30;
  restart_with(
      [&](ClusterOptions& o) { o.reserve_bytes = std::max<int64_t>(0, free - kMost / 2); });
  const grpc::Status status = begin_upload(kMost)->writer->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("nearly full"));
}

TEST_F(RequestsTest, AnAgentIsSparedWhatIsThereAndAUserIsNot) {
  restart_with([](ClusterOptions& o) { o.upload_idle_seconds = 0.3; });
  const std::string text = "a checkpoint";
  Sha256 digest;
  digest.add(text);
  v1::FileChunk whole;
  whole.mutable_file()->set_path("data");
  whole.mutable_file()->set_sha256(digest.digits());
  whole.mutable_file()->set_size_bytes(static_cast<int64_t>(text.size()));
  v1::FileChunk name_alone = whole;
  whole.set_data(text);
  const auto agents = v1::Agent::NewStub(channel_);
  const auto send = [&](const v1::FileChunk& chunk, bool as_user, bool is_all) {
    grpc::ClientContext context;
    v1::FileRef answer;
    const auto writer =
        as_user ? jobs_->Upload(&context, &answer) : agents->Store(&context, &answer);
    writer->Write(chunk);
    if (is_all) writer->WritesDone();
    return writer->Finish().error_code();
  };
  EXPECT_EQ(send(name_alone, false, false), StatusCode::CANCELLED) << "nobody has it yet";
  EXPECT_EQ(send(whole, false, true), StatusCode::OK);
  EXPECT_EQ(send(name_alone, false, false), StatusCode::OK);
  EXPECT_EQ(send(name_alone, true, false), StatusCode::CANCELLED);
}

TEST_F(RequestsTest, AnUploadThatStallsIsGivenUp) {
  restart_with([](ClusterOptions& o) { o.upload_idle_seconds = 0.3; });
  const auto upload = begin_upload(10);
  EXPECT_EQ(upload->writer->Finish().error_code(), StatusCode::CANCELLED);
  while (audit().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_THAT(audit()[0].outcome, HasSubstr("nothing of the file has come for 0.3 s"));
}

TEST_F(RequestsTest, AUserSendsSoManyFilesAtATime) {
  restart_with([](ClusterOptions& o) { o.uploads_per_user = 2; });
  std::vector<std::unique_ptr<Upload>> taken;
  for (int i = 0; i < 2; ++i) taken.push_back(begin_upload(10));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(begin_upload(10)->writer->Finish().error_code(), StatusCode::RESOURCE_EXHAUSTED);
  for (const auto& upload : taken) {
    upload->writer->WritesDone();
    EXPECT_EQ(upload->writer->Finish().error_code(), StatusCode::INVALID_ARGUMENT);  // too short
  }
  EXPECT_EQ(begin_upload(-1)->writer->Finish().error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(RequestsTest, AUserHasSoManyStreamsAtATime) {
  restart_with([](ClusterOptions& o) { o.streams_per_user = 2; });
  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchEvent>> reader;
  };
  const auto watch = [&] {
    auto stream = std::make_unique<Stream>();
    stream->reader = jobs_->Watch(&stream->context, v1::WatchRequest());
    return stream;
  };
  std::vector<std::unique_ptr<Stream>> taken;
  for (int i = 0; i < 2; ++i) taken.push_back(watch());
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const grpc::Status status = watch()->reader->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("has 2 streams at this moment"));
  for (const auto& stream : taken) {
    stream->context.TryCancel();
    stream->reader->Finish();
  }
}

TEST_F(RequestsTest, AUserHasSoManyLargeSubmitsOnTheirWay) {
  const std::string large = kYaml + std::string(900 << 10, '#');
  std::atomic<int> taken = 0, refused = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 32; ++i) {
    clients.emplace_back([&, i] {
      v1::SubmitResponse answer;
      const grpc::Status status = submit(std::to_string(i), large, answer);
      if (status.ok()) ++taken;
      if (status.error_message().find("has 8 large submits") != std::string::npos) ++refused;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GE(taken, 1);
  EXPECT_GE(refused, 1);
  EXPECT_EQ(taken + refused, 32);
  v1::SubmitResponse answer;
  EXPECT_TRUE(submit("later", large, answer).ok()) << "no place is kept";
}

TEST_F(RequestsTest, AnswersFitIntoWhatAClientTakes) {
  constexpr int kJobs = 4000;
  const std::string yaml = fmt::format(
      "run: {{output_dir: out}}\njob: {{sweep: {{grid: {{data.path: [{}], run.seed: "
      "[{}]}}}}}}\n",
      std::string(1200, 'x'), fmt::join(std::views::iota(0, kJobs), ", "));
  for (int i = 0; i < 2; ++i) {  // the same answer again
    v1::SubmitResponse answer;
    const grpc::Status status = submit("sweep", yaml, answer);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(answer.jobs_size(), kJobs);
    EXPECT_THAT(answer.jobs(0).overrides(), SizeIs(2));
    EXPECT_THAT(answer.jobs(kJobs - 1).overrides(), SizeIs(0));
    EXPECT_THAT(show(answer.jobs(kJobs - 1).job()).overrides(), SizeIs(2));
  }
}

TEST_F(RequestsTest, ARunsLogIsKeptFromItsBeginning) {
  JobLogs logs(folder_.path("logs-of-jobs"), 10);
  logs.append(1, 7, 0, "0123456");
  logs.append(1, 7, 7, "789abc");
  logs.append(1, 7, 13, "never");
  logs.append(1, 7, logs.size(1, 7), "never");
  EXPECT_EQ(logs.read(1, 0, 1000),
            "0123456789\nwattled: the log of this run ends here: 10 bytes of it are kept\n");
  logs.append(1, 8, 0, "another");
  EXPECT_THAT(logs.read(1, 0, 1000), HasSubstr("kept\nanother"));
}

TEST_F(RequestsTest, RefusalsAreWrittenDownShortAndNotWithoutEnd) {
  for (int i = 0; i < 3 * Refusals::kMost; ++i) {
    grpc::ClientContext context;
    v1::SubmitRequest request;
    request.set_request_id("a");
    request.set_yaml(kYaml);
    request.add_inputs()->set_path("/" + std::string(100'000, 'x'));
    v1::SubmitResponse answer;
    const grpc::Status status = jobs_->Submit(&context, request, &answer);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_LT(status.error_message().size(), 2100);
  }
  v1::SubmitResponse answer;
  ASSERT_TRUE(submit("b", kYaml, answer).ok());
  EXPECT_THAT(audit(), SizeIs(Refusals::kMost + 1));
  for (const AuditRecord& record : audit()) EXPECT_LT(record.outcome.size(), 300);
  now_ = now_ + 61;
  while (audit().size() < Refusals::kMost + 2) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_THAT(audit().back().outcome, HasSubstr(fmt::format("{} more", 2 * Refusals::kMost)));
}

TEST_F(RequestsTest, RefusedAndRepeatedSubmitsTakeNoRoom) {
  const std::string sweep = fmt::format(
      "sweep: {{grid: {{data.path: [{}{}]}}}}",
      fmt::join(std::views::iota(0, 50), std::string(4000, 'x') + ", "), std::string(4000, 'y'));
  const auto yaml = [&](const std::string& after) {
    return fmt::format("run: {{output_dir: out}}\njob: {{{}{}}}\n", after, sweep);
  };
  v1::SubmitResponse answer;
  ASSERT_TRUE(submit("taken", yaml(""), answer).ok());
  const int64_t before = database_bytes();
  for (int i = 0; i < 10; ++i) {
    const grpc::Status refused = submit(std::to_string(i), yaml("after: [nobody], "), answer);
    EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION) << refused.error_message();
    EXPECT_THAT(refused.error_message(), HasSubstr("has no job 'nobody'"));
    v1::SubmitResponse again;
    ASSERT_TRUE(submit("taken", yaml(""), again).ok());
    EXPECT_EQ(again.jobs(0).job(), 1);
  }
  EXPECT_LT(database_bytes() - before, 500'000);
}

TEST_F(RequestsTest, NamesAreShortAndPrintable) {
  for (const std::string& name :
       {std::string(200'000, 'x'), std::string("a\\eb"), std::string("a\\u009bb")}) {
    const grpc::Status status =
        submit(fmt::format("run: {{output_dir: out, name: \"{}\"}}\njob: {{}}\n", name));
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << name.substr(0, 20);
    EXPECT_LT(status.error_message().size(), 400);
  }
}

TEST_F(RequestsTest, AnArrayHasEachSeedOnce) {
  grpc::ClientContext context;
  v1::SubmitRequest request;
  request.set_request_id("a");
  request.set_yaml(kYaml);
  request.set_array("0-3,3");
  v1::SubmitResponse answer;
  const grpc::Status status = jobs_->Submit(&context, request, &answer);
  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("3 is there twice"));
}

TEST_F(RequestsTest, ARequestIdStandsForOneFile) {
  v1::SubmitResponse first, other;
  ASSERT_TRUE(submit("a", kYaml, first).ok());
  const grpc::Status status = submit("a", std::string(kYaml) + "# another\n", other);
  EXPECT_EQ(status.error_code(), StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(status.error_message(), HasSubstr("job 1 was handed in under it"));
  EXPECT_EQ(other.jobs_size(), 0);
}

TEST_F(RequestsTest, TheEndOfAJobSaysWhyAndWhereItRan) {
  v1::SubmitResponse answer;
  ASSERT_TRUE(submit("a", kYaml, answer).ok());
  ScriptedAgent agent(channel_, "node-1");
  const v1::Launch launch = agent.await(v1::Command::kLaunch).launch();
  agent.acknowledge(launch.sequence());
  agent.fail(launch.token(), "loss is\x1b[31m NaN " + std::string(10'000, '!'));
  const v1::JobDetail job = show(1);
  EXPECT_EQ(job.summary().state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(job.explanation(), HasSubstr("exit code 1: loss is?[31m NaN !!!"));
  EXPECT_LT(job.explanation().size(), 600);
  EXPECT_EQ(job.summary().why(), job.explanation());
  EXPECT_THAT(job.summary().nodes(), testing::ElementsAre("node-1"));
  EXPECT_EQ(job.summary().ranks(), 1);
  EXPECT_GT(job.summary().start_time(), 0);
  EXPECT_GE(job.summary().run_end_time(), job.summary().start_time());
}

TEST_F(RequestsTest, ARefusedRegistrationLearnsWhy) {
  ScriptedAgent first(channel_, "node-1");
  first.await(v1::Command::kRegistered);
  grpc::ClientContext context;
  const auto stub = v1::Agent::NewStub(channel_);
  const auto stream = stub->Attach(&context);
  v1::AgentMessage message;
  v1::Registration& registration = *message.mutable_registration();
  registration.set_node("node-1");
  v1::DeviceGroup& group = *registration.add_devices();
  group.set_type("gpu"), group.set_count(1), group.set_idle_watts(5);
  group.set_min_limit_watts(10), group.set_max_limit_watts(50), group.set_safe_watts(10);
  stream->Write(message);
  v1::Command command;
  EXPECT_FALSE(stream->Read(&command));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("1 x gpu, not 2 x cpu"));
}

TEST_F(RequestsTest, InputsDoNotStandInEachOthersWay) {
  for (const auto& [one, other] : {std::pair{"a", "a"}, {"a/b", "a"}, {"run.yaml/x", "b"}}) {
    grpc::ClientContext context;
    v1::SubmitRequest request;
    request.set_request_id("a");
    request.set_yaml(kYaml);
    for (const char* path : {one, other}) {
      v1::FileRef& file = *request.add_inputs();
      file.set_path(path), file.set_sha256(std::string(64, '0'));
    }
    v1::SubmitResponse answer;
    EXPECT_EQ(jobs_->Submit(&context, request, &answer).error_code(), StatusCode::INVALID_ARGUMENT)
        << one;
  }
}

TEST_F(RequestsTest, NobodyOwnsAFileThatIsRemoved) {
  stop();
  edit("INSERT INTO file_owner VALUES('team-a', '" + std::string(64, '0') + "')");
  start();
  const auto is_owned = [&] {
    return daemon_->core().read_store(
        [](Store& store) { return store.is_owned(std::string(64, '0')); });
  };
  for (int tries = 0; tries < 300 && is_owned(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_FALSE(is_owned());
}

TEST_F(RequestsTest, AReportDelaysNoSubmit) {
  edit("INSERT INTO energy VALUES('team-a', '2026-11-24', 1, 'estimated:model', 1, 0)");
  int sums = 0;
  daemon_->reports().read({}, [&](const EnergySum&) {
    ++sums;
    v1::SubmitResponse answer;
    EXPECT_TRUE(submit("while it is read", kYaml, answer).ok());
  });
  EXPECT_EQ(sums, 1);
}

TEST_F(RequestsTest, AReportOfTooManyRowsSaysWhatToAskFor) {
  edit(
      "WITH RECURSIVE j(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM j WHERE n < 20001) INSERT "
      "INTO "
      "energy SELECT 'team-a', iif(n < 9, '2026-11-23', '2026-11-24'), n, 'estimated:model', 1, 0 "
      "FROM j");
  const auto report = [&](v1::ReportRequest::By by, double from, v1::ReportResponse& answer) {
    grpc::ClientContext context;
    v1::ReportRequest request;
    request.set_by(by), request.set_from_time(from);
    return cluster_->Report(&context, request, &answer);
  };
  constexpr double kOn24th = 1795478400;
  v1::ReportResponse all, fewer, days;
  const grpc::Status refused = report(v1::ReportRequest::JOB, 0, all);
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("more than 20000 rows: ask for fewer days"));
  EXPECT_TRUE(report(v1::ReportRequest::JOB, kOn24th, fewer).ok());
  EXPECT_EQ(fewer.rows_size(), 19993);
  EXPECT_TRUE(report(v1::ReportRequest::DAY, 0, days).ok());
  ASSERT_EQ(days.rows_size(), 2);
  EXPECT_EQ(days.rows(1).jobs(), 19993);
  EXPECT_EQ(days.rows(1).estimated_joules(), 19993);
}

}  // namespace
}  // namespace wattle::scheduler
