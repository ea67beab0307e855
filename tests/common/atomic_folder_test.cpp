#include <gmock/gmock.h>

#include <filesystem>

#include "common/atomic_file.h"
#include "common/error.h"
#include "tests/support/killed_writer.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

using testing::HasSubstr;

class AtomicFolders : public testing::Test {
 protected:
  /// Two files that belong together.
  void write(const std::string& text) const {
    AtomicFolder folder(scratch_.path("model"));
    for (const char* name : {"weights", "config"}) {
      AtomicFile file(folder.aside() / name);
      file.write(text);
      file.commit();
    }
    folder.commit();
  }
  std::string weights() const { return scratch_.content("model/weights"); }
  std::string config() const { return scratch_.content("model/config"); }
  bool has(const std::string& name) const { return std::filesystem::exists(scratch_.path(name)); }

  ScratchFolder scratch_;
};

TEST_F(AtomicFolders, CommitReplacesTheOldFilesAndKeepsOthers) {
  write("one");
  EXPECT_EQ(weights() + config(), "oneone");
  scratch_.put("model/tokenizer/merges", "mine");
  std::filesystem::create_symlink("tokenizer/merges", scratch_.path("model/link"));
  write("two");
  EXPECT_EQ(weights() + config(), "twotwo");
  EXPECT_EQ(scratch_.content("model/link"), "mine");
  EXPECT_FALSE(has(".model.tmp"));
}

TEST_F(AtomicFolders, LeavesTheOldFilesWithoutCommit) {
  write("one");
  {
    const AtomicFolder folder(scratch_.path("model"));
    AtomicFile file(folder.aside() / "weights");
    file.write("two");
    file.commit();
  }
  EXPECT_EQ(weights() + config(), "oneone");
  EXPECT_FALSE(has(".model.tmp"));
}

TEST_F(AtomicFolders, FollowsALink) {
  scratch_.put("elsewhere/config", "old");
  std::filesystem::create_directory_symlink(scratch_.path("elsewhere"), scratch_.path("model"));
  write("new");
  EXPECT_EQ(scratch_.content("elsewhere/weights"), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(scratch_.path("model")));
}

TEST_F(AtomicFolders, SaysWhyAFolderCannotBeReplaced) {
  const auto why = [](const std::string& path) -> std::string {
    try {
      AtomicFolder folder(path);
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kIo);
      return error.what();
    }
  };
  scratch_.put("file", "");
  EXPECT_THAT(why(scratch_.path("file")), HasSubstr("file: expected a folder: it is a file"));
  EXPECT_THAT(why(scratch_.path("file/model")), HasSubstr("Not a directory"));
  std::filesystem::create_symlink(scratch_.path("nowhere"), scratch_.path("link"));
  EXPECT_THAT(why(scratch_.path("link")), HasSubstr("link: expected a folder: it is a link that"));
  EXPECT_THAT(why("/proc"), HasSubstr("/proc: can't be replaced: a file system is mounted there"));
}

TEST_F(AtomicFolders, AKillAtAnyMomentLeavesFilesThatBelongTogether) {
  write("one");
  kill_while_writing(
      60, [this](int i) { write(i % 2 == 0 ? "two" : "three"); },
      [this](int kill) {
        ASSERT_NE(weights(), "");
        ASSERT_EQ(weights(), config()) << "after kill " << kill;
      });
  if (HasFatalFailure()) return;
  write("last");
  EXPECT_EQ(weights() + config(), "lastlast");
  EXPECT_FALSE(has(".model.tmp"));
}

}  // namespace
}  // namespace wattle
