#include <filesystem>

#include "tests/scheduler/daemon/daemon_story.h"

// What becomes of the files that users send.

namespace wattle::scheduler {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

constexpr int64_t kMegabyte = 1'000'000;

v1::FileRef reference(const std::string& text) {
  Sha256 digest;
  digest.add(text);
  v1::FileRef file;
  file.set_path("data"), file.set_sha256(digest.digits());
  file.set_size_bytes(static_cast<int64_t>(text.size()));
  return file;
}

class UploadsTest : public DaemonTest {
 protected:
  UploadsTest() {
    stop();
    options_.uploads_gigabytes = 1;
    start();
  }

  /// A file on its way in: announced, and then nothing.
  struct Upload {
    grpc::ClientContext context;
    v1::FileRef answer;
    std::unique_ptr<grpc::ClientWriter<v1::FileChunk>> writer;
  };
  std::unique_ptr<Upload> begin(const v1::FileRef& file, const std::string& text = "") {
    auto upload = std::make_unique<Upload>();
    upload->writer = jobs_->Upload(&upload->context, &upload->answer);
    v1::FileChunk chunk;
    *chunk.mutable_file() = file;
    chunk.set_data(text);
    upload->writer->Write(chunk);
    return upload;
  }
  grpc::Status send(const std::string& text) {
    const auto upload = begin(reference(text), text);
    upload->writer->WritesDone();
    return upload->writer->Finish();
  }
  static v1::FileRef large(int64_t megabytes) {
    v1::FileRef file = reference(std::to_string(megabytes));
    file.set_size_bytes(megabytes * kMegabyte);
    return file;
  }

  grpc::Status submit_with(const std::string& id, const std::string& text) {
    grpc::ClientContext context;
    v1::SubmitRequest request;
    request.set_request_id(id);
    request.set_yaml(kYaml);
    *request.add_inputs() = reference(text);
    v1::SubmitResponse answer;
    return jobs_->Submit(&context, request, &answer);
  }

  bool has(const std::string& text) { return daemon_->files().has(reference(text).sha256()); }
  /// As if the file had been wanted so many days ago, at the next sweep.
  void make_older(const std::string& text, double days) {
    const auto age = std::chrono::seconds(static_cast<int64_t>(days * 86400));
    std::filesystem::last_write_time(daemon_->files().path_of(reference(text).sha256()),
                                     std::filesystem::file_time_type::clock::now() - age);
  }
  bool goes(const std::string& text) {
    for (int tries = 0; tries < 300 && has(text); ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return !has(text);
  }
  int64_t waiting_bytes() {
    return daemon_->core().read_store(
        [](Store& store) { return store.waiting("default", "").bytes; });
  }
};

TEST_F(UploadsTest, WhatNoJobNamesGoesAfterADay) {
  for (const char* text : {"named", "never named", "young"}) ASSERT_TRUE(send(text).ok());
  ASSERT_TRUE(submit_with("a", "named").ok());
  make_older("named", 80), make_older("never named", 1.1), make_older("young", 0.9);
  stop();
  start();
  EXPECT_TRUE(goes("never named"));
  EXPECT_TRUE(has("named") && has("young"));
  const grpc::Status gone = submit_with("b", "never named");
  EXPECT_EQ(gone.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(gone.error_message(), HasSubstr("has not been uploaded: send it first"));
  EXPECT_TRUE(submit_with("c", "young").ok());
}

TEST_F(UploadsTest, WhatIsNamedOnceStaysForTheHistory) {
  ASSERT_TRUE(send("named").ok());
  ASSERT_TRUE(submit_with("a", "named").ok());
  grpc::ClientContext context;
  v1::CancelRequest request;
  request.set_job(1);
  v1::CancelResponse answer;
  ASSERT_TRUE(jobs_->Cancel(&context, request, &answer).ok());
  make_older("named", 80);
  ASSERT_TRUE(send("named").ok()) << "again, and it does not wait for a job";
  EXPECT_EQ(waiting_bytes(), 0);
  make_older("named", 80);
  ASSERT_TRUE(send("never named").ok());
  make_older("never named", 2);
  stop();
  start();
  EXPECT_TRUE(goes("never named"));
  EXPECT_TRUE(submit_with("b", "named").ok());
}

/// The version before had owned every file at once.
TEST_F(UploadsTest, FilesOfAnOlderStateStay) {
  ASSERT_TRUE(send("old").ok());
  make_older("old", 80);
  stop();
  edit(
      "INSERT INTO file_owner SELECT tenant, sha256 FROM upload; DROP TABLE upload; PRAGMA "
      "user_version = 9");
  start();
  EXPECT_TRUE(submit_with("a", "old").ok());
}

TEST_F(UploadsTest, ATenantHasSoManyFilesThatNoJobNames) {
  ASSERT_TRUE(send("small").ok());
  edit(
      "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 19999) INSERT "
      "INTO "
      "upload SELECT 'default', 'n' || i, 0 FROM n");
  const grpc::Status refused = send("");
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("has 20000 other files of 5 bytes here"));
  EXPECT_TRUE(send("small").ok()) << "it is here already";
}

TEST_F(UploadsTest, ATenantHasSoManyBytesThatNoJobNames) {
  ASSERT_TRUE(send("small").ok());
  EXPECT_EQ(waiting_bytes(), 5);
  edit("UPDATE upload SET bytes = 600000000");  // as if it were large
  const grpc::Status refused = begin(large(500))->writer->Finish();
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("it has 500000000 bytes"));
  EXPECT_THAT(refused.error_message(), HasSubstr("has 1 other files of 600000000 bytes here"));
  EXPECT_THAT(refused.error_message(), HasSubstr("of 1000000000 bytes are taken: hand in"));
  EXPECT_TRUE(send("small").ok()) << "the same again counts once";
  ASSERT_TRUE(submit_with("a", "small").ok());
  EXPECT_EQ(waiting_bytes(), 0);
  const auto taken = begin(large(500));
  taken->writer->WritesDone();
  EXPECT_EQ(taken->writer->Finish().error_code(), StatusCode::INVALID_ARGUMENT) << "too short";
}

TEST_F(UploadsTest, FilesOnTheirWayCountAsTheyWereAnnounced) {
  const auto first = begin(large(600));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const grpc::Status refused = begin(large(401))->writer->Finish();
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("600000000 bytes of them on their way"));
  first->writer->WritesDone();
  EXPECT_EQ(first->writer->Finish().error_code(), StatusCode::INVALID_ARGUMENT) << "too short";
  const auto second = begin(large(1000));
  second->writer->WritesDone();
  EXPECT_EQ(second->writer->Finish().error_code(), StatusCode::INVALID_ARGUMENT) << "too short";
}

}  // namespace
}  // namespace wattle::scheduler
