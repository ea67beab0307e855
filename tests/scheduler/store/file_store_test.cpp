#include "scheduler/store/file_store.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "scheduler/digest/sha256.h"
#include "tests/support/scratch_folder.h"

namespace wattle::scheduler {
namespace {

class FileStoreTest : public testing::Test {
 protected:
  std::string keep(const std::string& text) {
    Sha256 digest;
    digest.add(text);
    const std::string sha256 = digest.digits();
    FileStore::Incoming incoming(store_, {"x", sha256, static_cast<int64_t>(text.size())});
    incoming.write(text);
    incoming.commit();
    return sha256;
  }
  ScratchFolder folder_;
  FileStore store_{folder_.path("files")};
};

TEST_F(FileStoreTest, WhatWasWantedSinceIsNotRemoved) {
  const std::string one = keep("one"), two = keep("two"), three = keep("three");
  const double reported = file_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(store_.renew(two));
  keep("three");
  for (const std::string& content : {one, two, three}) store_.remove(content, reported);
  EXPECT_FALSE(store_.has(one));
  EXPECT_TRUE(store_.has(two) && store_.has(three));
  EXPECT_FALSE(store_.renew(one));
  EXPECT_EQ(keep("one"), one);
  EXPECT_TRUE(store_.has(one));
}

TEST_F(FileStoreTest, RemovesWhatIsOlderThanItMayBe) {
  const std::string one = keep("one"), two = keep("two");
  const std::string broken = std::filesystem::path(store_.path_of(one)).string() + ".7.9.tmp";
  std::ofstream(broken) << "half";
  const double now = file_seconds();
  store_.remove_all([&](const std::string& sha256) { return sha256 == one ? now + 1 : now - 60; });
  EXPECT_FALSE(store_.has(one));
  EXPECT_TRUE(store_.has(two));
  EXPECT_TRUE(std::filesystem::exists(broken)) << "it may still be on its way";
  const auto days_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(25);
  std::filesystem::last_write_time(broken, days_ago);
  store_.remove_all([](const std::string&) { return 0.0; });
  EXPECT_FALSE(std::filesystem::exists(broken));
  EXPECT_TRUE(store_.has(two));
}

}  // namespace
}  // namespace wattle::scheduler
