#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/atomic_file.h"
#include "common/error.h"
#include "common/mapped_file.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Files : public testing::Test {
 protected:
  Files() : folder_(testing::TempDir() + "files_" + std::to_string(::getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~Files() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ / name; }
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
  }
  std::string content(const std::string& name) const {
    std::ifstream file(path(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      found.push_back(entry.path().filename());
    }
    return found;
  }
  static std::string text_of(const MappedFile& file) {
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
  }
  template <typename Action>
  static std::string io_error_of(Action action) {
    try {
      action();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kIo);
      return error.what();
    }
    return "no error";
  }

  std::filesystem::path folder_;
};

TEST_F(Files, MapsWhatWasWritten) {
  put("a", "some bytes");
  EXPECT_EQ(text_of(MappedFile(path("a"))), "some bytes");
  EXPECT_EQ(text_of(MappedFile(path("a"), MappedFile::Access::kRandom)), "some bytes");
}

TEST_F(Files, MapsAnEmptyFileAsNoBytes) {
  put("empty", "");
  EXPECT_THAT(MappedFile(path("empty")).bytes(), IsEmpty());
}

TEST_F(Files, KeepsBytesInPlaceWhenMoved) {
  put("a", "some bytes");
  put("b", "others");
  MappedFile first(path("a"));
  const std::byte* where = first.bytes().data();
  MappedFile second(path("b"));
  second = std::move(first);
  EXPECT_EQ(second.bytes().data(), where);
  EXPECT_EQ(text_of(second), "some bytes");
}

TEST_F(Files, SaysWhyAFileCannotBeMapped) {
  EXPECT_THAT(io_error_of([&] { MappedFile file(path("absent")); }),
              HasSubstr("absent: can't be opened: No such file"));
  EXPECT_THAT(io_error_of([&] { MappedFile file(folder_); }), HasSubstr("expected a regular file"));
}

TEST_F(Files, CommitReplacesTheOldContent) {
  put("a", "old");
  AtomicFile file(path("a"));
  file.write("new ");
  file.write("content");
  EXPECT_EQ(file.offset(), 11u);
  EXPECT_EQ(content("a"), "old");
  file.commit();
  EXPECT_EQ(content("a"), "new content");
  EXPECT_THAT(names(), ElementsAre("a"));
}

TEST_F(Files, LeavesTheOldContentWithoutCommit) {
  put("a", "old");
  { AtomicFile(path("a")).write("half of the n"); }
  EXPECT_EQ(content("a"), "old");
  EXPECT_THAT(names(), ElementsAre("a"));
}

TEST_F(Files, SaysWhyAFileCannotBeWritten) {
  EXPECT_THAT(io_error_of([&] { AtomicFile file(path("no/folder")); }),
              HasSubstr("no/folder: can't be created at byte 0: No such file"));
  std::filesystem::create_directory(path("taken"));
  put("taken/inside", "");
  EXPECT_THAT(io_error_of([&] { AtomicFile(path("taken")).commit(); }),
              HasSubstr("taken: can't be renamed into place"));
  EXPECT_THAT(names(), ElementsAre("taken"));
}

}  // namespace
}  // namespace wattle
