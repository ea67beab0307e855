#include "scheduler/agent/files/file_transfer.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <future>
#include <map>
#include <thread>

#include "common/error.h"
#include "scheduler/rpc/agent.grpc.pb.h"
#include "tests/support/scratch_folder.h"

namespace wattle::agent {
namespace {

using testing::HasSubstr;

/// More than is on its way while the other side does not read: its end is read after meanwhile().
constexpr int64_t kManyBytes = 16 << 20;

/// A daemon that keeps files by their announced content; something may happen to the file between
/// its announcement and the rest.
class Files : public v1::Agent::Service {
 public:
  std::map<std::string, std::string> kept;
  std::function<void()> meanwhile = [] {};
  std::atomic<int> away = 0;  ///< so many fetches fail

 private:
  grpc::Status Store(grpc::ServerContext*, grpc::ServerReader<v1::FileChunk>* reader,
                     v1::FileRef* stored) override {
    v1::FileChunk chunk;
    while (reader->Read(&chunk)) {
      if (chunk.has_file()) {
        *stored = chunk.file();
        meanwhile();
        if (kept.contains(stored->sha256())) return grpc::Status::OK;
      }
      kept[stored->sha256()] += chunk.data();
    }
    return grpc::Status::OK;
  }

  grpc::Status Fetch(grpc::ServerContext*, const v1::FileRef* ref,
                     grpc::ServerWriter<v1::FileChunk>* writer) override {
    v1::FileChunk chunk;
    if (away-- > 0) return {grpc::StatusCode::UNAVAILABLE, "the daemon stops"};
    chunk.set_data(kept.at(ref->sha256()));
    writer->Write(chunk);
    return grpc::Status::OK;
  }
};

class FileTransferTest : public testing::Test {
 protected:
  FileTransferTest() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&daemon_);
    server_ = builder.BuildAndStart();
    transfer_.emplace(grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                          grpc::InsecureChannelCredentials()));
  }
  ~FileTransferTest() override { server_->Shutdown(); }

  void append(const std::string& name, const std::string& text) {
    std::ofstream(folder_.path(name), std::ios::binary | std::ios::app) << text;
  }
  v1::FileRef store(const std::string& name) {
    return transfer_->store(folder_.path(""), name, {}, no_more_.get_token());
  }
  void fetch(const v1::FileRef& ref, Growth growth = Growth::kNone) {
    transfer_->fetch(ref, folder_.path(""), growth, {}, gives_up_);
  }

  std::atomic<bool> gives_up_ = false;
  std::stop_source no_more_;
  ScratchFolder folder_;
  Files daemon_;
  std::unique_ptr<grpc::Server> server_;
  std::optional<FileTransfer> transfer_;
};

TEST_F(FileTransferTest, WhatIsStoredComesBack) {
  const std::string text(3 << 20, 'x');
  folder_.put("a", text + "end");
  const v1::FileRef ref = store("a");
  EXPECT_EQ(ref.size_bytes(), (3 << 20) + 3);
  std::filesystem::remove(folder_.path("a"));
  fetch(ref);
  EXPECT_EQ(folder_.content("a"), text + "end");
}

TEST_F(FileTransferTest, WhatTheDaemonHasIsStoredWithoutBeingSent) {
  folder_.put("a", std::string(40 << 20, 'x'));
  const v1::FileRef ref = store("a");
  EXPECT_EQ(store("a").sha256(), ref.sha256());
  EXPECT_EQ(daemon_.kept.at(ref.sha256()).size(), 40 << 20);  // once
}

TEST_F(FileTransferTest, ADaemonThatIsAwayIsAskedAgain) {
  folder_.put("a", "text");
  const v1::FileRef ref = store("a");
  std::filesystem::remove(folder_.path("a"));
  daemon_.away = 2;
  fetch(ref);
  EXPECT_EQ(folder_.content("a"), "text");
}

TEST_F(FileTransferTest, AWaitForTheDaemonEndsWhenNobodyWantsTheFile) {
  folder_.put("a", "text");
  const v1::FileRef ref = store("a");
  std::filesystem::remove(folder_.path("a"));
  daemon_.away = 1'000'000;
  std::thread later([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    gives_up_ = true;
  });
  try {
    fetch(ref);
    ADD_FAILURE() << "fetched";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kCommunication);
  }
  later.join();
}

TEST_F(FileTransferTest, AFileThatGrowsIsStoredAsItWas) {
  const std::string text(kManyBytes, 'x');
  folder_.put("metrics.jsonl", text);
  daemon_.meanwhile = [this] { append("metrics.jsonl", "more\n"); };
  const v1::FileRef ref = store("metrics.jsonl");
  EXPECT_EQ(ref.size_bytes(), kManyBytes);
  EXPECT_EQ(daemon_.kept.at(ref.sha256()), text);
  EXPECT_EQ(ref.sha256(), sha256_of(folder_.path("metrics.jsonl"), kManyBytes));
}

TEST_F(FileTransferTest, AFileThatShrinksIsAnError) {
  folder_.put("a", std::string(kManyBytes, 'x'));
  daemon_.meanwhile = [this] { folder_.put("a", "less"); };
  try {
    store("a");
    FAIL() << "stored";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kIo);
    EXPECT_THAT(e.what(), HasSubstr("expected 16777216 bytes, got "));
  }
}

TEST_F(FileTransferTest, AStoreThatIsGivenUpEndsWhileTheDaemonDoesNot) {
  folder_.put("a", std::string(kManyBytes, 'x'));
  std::promise<void> end;
  daemon_.meanwhile = [&] {
    no_more_.request_stop();
    end.get_future().wait_for(std::chrono::seconds(10));
  };
  EXPECT_THROW(store("a"), Error);
  end.set_value();
}

TEST_F(FileTransferTest, ARecordThatHasGoneOnStays) {
  folder_.put("metrics.jsonl", "one\n");
  const v1::FileRef ref = store("metrics.jsonl");
  append("metrics.jsonl", "two\n");
  fetch(ref, Growth::kAppended);
  EXPECT_EQ(folder_.content("metrics.jsonl"), "one\ntwo\n");
  fetch(ref);
  EXPECT_EQ(folder_.content("metrics.jsonl"), "one\n");
}

TEST_F(FileTransferTest, AnotherRecordIsReplaced) {
  folder_.put("metrics.jsonl", "one\n");
  const v1::FileRef ref = store("metrics.jsonl");
  folder_.put("metrics.jsonl", "another one\n");
  fetch(ref, Growth::kAppended);
  EXPECT_EQ(folder_.content("metrics.jsonl"), "one\n");
}

TEST_F(FileTransferTest, AnotherContentThanAnnouncedIsRefused) {
  folder_.put("a", "text");
  v1::FileRef ref = store("a");
  daemon_.kept[ref.sha256()] = "no text";
  std::filesystem::remove(folder_.path("a"));
  EXPECT_THROW(fetch(ref), Error);
  EXPECT_FALSE(std::filesystem::exists(folder_.path("a")));
}

TEST(PathBelow, StaysInTheFolder) {
  EXPECT_EQ(path_below("/jobs/1", "out/x"), "/jobs/1/out/x");
  for (const std::string& path :
       {std::string(), std::string("/etc/x"), std::string("../x"), std::string("a/../../x"),
        std::string("a/.."), std::string("a\0b", 3)}) {
    EXPECT_THROW(path_below("/jobs/1", path), Error) << path;
  }
}

}  // namespace
}  // namespace wattle::agent
