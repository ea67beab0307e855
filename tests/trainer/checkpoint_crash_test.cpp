#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <random>
#include <thread>

#include "common/error.h"
#include "tests/trainer/checkpoint_support.h"
#include "trainer/checkpoint/run_lock.h"

namespace wattle {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

/// Calls `before` with the number of the operation, from 0, before each operation on files.
class WatchedStorage : public Storage {
 public:
  using Before = std::function<void(int operation, size_t bytes)>;
  explicit WatchedStorage(Before before) : before_(std::move(before)) {}

  std::unique_ptr<OutputFile> create(const fs::path& path) override {
    next();
    return std::make_unique<File>(*this, real_->create(path));
  }
  void make_directories(const fs::path& path) override { next(), real_->make_directories(path); }
  void sync_directory(const fs::path& path) override { next(), real_->sync_directory(path); }
  void rename(const fs::path& from, const fs::path& to) override {
    next(), real_->rename(from, to);
  }
  bool exchange(const fs::path& one, const fs::path& other) override {
    next();
    return exchanges_ && real_->exchange(one, other);
  }
  void remove_all(const fs::path& path) override { next(), real_->remove_all(path); }
  /// As on a file system that can't.
  void never_exchange() { exchanges_ = false; }

 private:
  class File : public OutputFile {
   public:
    File(WatchedStorage& storage, std::unique_ptr<OutputFile> real)
        : storage_(storage), real_(std::move(real)) {}
    void write(const void* data, size_t bytes) override {
      storage_.next(bytes);
      real_->write(data, bytes / 2);
      storage_.next();
      real_->write(static_cast<const char*>(data) + bytes / 2, bytes - bytes / 2);
    }
    void close() override { storage_.next(), real_->close(); }

   private:
    WatchedStorage& storage_;
    std::unique_ptr<OutputFile> real_;
  };
  void next(size_t bytes = 0) { before_(operation_++, bytes); }

  Before before_;
  int operation_ = 0;
  bool exchanges_ = true;
  std::unique_ptr<Storage> real_ = make_posix_storage();
};

class Crashes : public CheckpointFixture {
 protected:
  /// Runs `child` in a process of its own; returns its wait status.
  static pid_t start(const std::function<void()>& child) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      child();
      ::_exit(0);
    }
    return pid;
  }
  static int wait(pid_t pid) {
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return status;
  }

  /// Writes checkpoints of steps [first, last], numbers(step) each.
  void write_steps(int64_t first, int64_t last, WatchedStorage::Before before) {
    Checkpointer checkpointer(output_dir_, options_, 0, 1,
                              std::make_unique<WatchedStorage>(std::move(before)));
    for (int64_t step = first; step <= last; ++step) {
      checkpointer.begin(meta(step), numbers(step).slices(0, 1));
      settle(checkpointer);
    }
  }

  /// The newest whole checkpoint holds what its step wrote; returns the step.
  int64_t expect_whole() {
    const FoundCheckpoint found = folder().find_newest_whole();
    EXPECT_THAT(found.warnings, testing::IsEmpty()) << "a crash leaves no broken checkpoint";
    if (!found.newest) return 0;
    const int64_t step = folder().steps().back();
    EXPECT_TRUE(numbers(step).equals(read(*found.newest))) << "step " << step;
    return step;
  }
};

TEST_F(Crashes, BetweenAnyTwoOperationsLeaveTheNewestWhole) {
  options_.keep = 1;
  write(1, numbers(1));
  int operations = 0;
  bool killed = true;
  for (; killed; ++operations) {
    killed = WIFSIGNALED(wait(start([&] {
      write_steps(2, 3, [&](int operation, size_t) {
        if (operation == operations) ::kill(::getpid(), SIGKILL);
      });
    })));
    const int64_t newest = expect_whole();
    EXPECT_GE(newest, 1);
    EXPECT_TRUE(killed || newest == 3);
    folder().remove_stale();
    for (int64_t step : {2, 3}) fs::remove_all(folder().final_path(step));
    if (!fs::exists(folder().final_path(1))) write(1, numbers(1));
  }
  EXPECT_GT(operations, 40) << "the sweep must reach into both checkpoints";
}

TEST_F(Crashes, WhileOneOfTheSameStepIsReplacedLoseNeither) {
  for (const bool exchanges : {true, false}) {
    bool killed = true, is_new = false;
    for (int operations = 0; killed; ++operations) {
      write(1, numbers(1));
      killed = WIFSIGNALED(wait(start([&] {
        auto storage = std::make_unique<WatchedStorage>([&](int operation, size_t) {
          if (operation == operations) ::kill(::getpid(), SIGKILL);
        });
        if (!exchanges) storage->never_exchange();
        Checkpointer checkpointer(output_dir_, options_, 0, 1, std::move(storage));
        checkpointer.begin(meta(1), numbers(2).slices(0, 1));
        settle(checkpointer);
      })));
      folder().remove_stale();
      const FoundCheckpoint found = folder().find_newest_whole();
      ASSERT_TRUE(found.newest) << "operation " << operations;
      EXPECT_THAT(found.warnings, testing::IsEmpty());
      is_new = numbers(2).equals(read(*found.newest));
      EXPECT_TRUE(is_new || numbers(1).equals(read(*found.newest)));
      const fs::directory_iterator all(found.newest->parent_path());
      EXPECT_EQ(std::distance(begin(all), end(all)), 1) << "nothing is left over";
    }
    EXPECT_TRUE(is_new);
  }
}

TEST_F(Crashes, AtAnyMomentLeaveTheNewestWhole) {
  options_.keep = 2;
  const auto start_time = std::chrono::steady_clock::now();
  write(1, numbers(1));
  const auto one_takes = std::chrono::steady_clock::now() - start_time;
  std::mt19937 random(7);
  int64_t newest = 1;
  for (int round = 0; round < 25 || newest < 5; ++round) {
    folder().remove_stale();
    const pid_t writer = start([&] { write_steps(newest + 1, newest + 1000, [](int, size_t) {}); });
    std::this_thread::sleep_for(one_takes * (random() % 1000) * (1 + round / 10) / 400);
    ::kill(writer, SIGKILL);
    wait(writer);
    const int64_t now = expect_whole();
    EXPECT_GE(now, newest);
    newest = now;
  }
}

TEST_F(Crashes, ADiskThatFillsLeavesEarlierCheckpointsAndNoRubbish) {
  write(1, numbers(1));
  const auto fill_after = [](size_t room) {
    return [room](int, size_t bytes) mutable {
      if (bytes > room) throw Error(ErrorCode::kIo, "can't write: No space left on device");
      room -= bytes;
    };
  };
  for (size_t room : {0, 100, 5000, 14'000}) {
    Checkpointer checkpointer(output_dir_, options_, 0, 1,
                              std::make_unique<WatchedStorage>(fill_after(room)));
    checkpointer.begin(meta(2), numbers(2).slices(0, 1));
    checkpointer.finish();
    ASSERT_EQ(checkpointer.state(), WriteState::kFailed);
    EXPECT_THAT([&] { checkpointer.settle(WriteState::kFailed); },
                testing::ThrowsMessage<Error>(
                    AllOf(HasSubstr("step-2: rank 0"), HasSubstr("No space left on device"))));
    EXPECT_EQ(expect_whole(), 1);
    EXPECT_FALSE(fs::exists(folder().temporary_path(2, 1)));
    EXPECT_EQ(checkpointer.state(), WriteState::kIdle) << "the next one may begin";
  }
}

TEST_F(Crashes, AnOperationThatFailsLeavesEarlierCheckpointsAndNoRubbish) {
  write(1, numbers(1));
  bool failed = true;
  int operations = 0;
  for (; failed; ++operations) {
    failed = false;
    const auto fail_once = [&](int operation, size_t) {
      if (operation != operations) return;
      failed = true;
      throw Error(ErrorCode::kIo, "Input/output error");
    };
    try {
      write_steps(2, 2, fail_once);
      EXPECT_FALSE(failed) << "operation " << operations << " failed and nobody said so";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr("step-2"), HasSubstr("Input/output error")));
    }
    EXPECT_GE(expect_whole(), 1);
    EXPECT_FALSE(fs::exists(folder().temporary_path(2, 1))) << "operation " << operations;
    fs::remove_all(folder().final_path(2));
  }
  EXPECT_GT(operations, 20) << "the sweep must reach the end of the commit";
}

TEST_F(Crashes, AFileThatMayNotGrowIsNamedWithTheByte) {
  write(1, numbers(1));
  const int status = wait(start([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{9000, 9000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    Checkpointer checkpointer(output_dir_, options_, 0, 1);
    checkpointer.begin(meta(2), numbers(2).slices(0, 1));
    checkpointer.finish();
    try {
      checkpointer.settle(checkpointer.state());
    } catch (const Error& error) {
      const std::string message = error.what();
      ::_exit(message.find(".safetensors at byte 9000: File too large") != std::string::npos ? 7
                                                                                             : 1);
    }
  }));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(expect_whole(), 1);
  EXPECT_FALSE(fs::exists(folder().temporary_path(2, 1)));
}

TEST_F(Crashes, OneRanksFailureIsEveryRanks) {
  write(1, numbers(1));
  const auto full = [](int, size_t) { throw Error(ErrorCode::kIo, "No space left on device"); };
  Checkpointer good(output_dir_, options_, 0, 2);
  Checkpointer bad(output_dir_, options_, 1, 2, std::make_unique<WatchedStorage>(full));
  for (Checkpointer* each : {&good, &bad}) {
    each->begin(meta(2), numbers(2).slices(each == &bad, 2));
    each->finish();
  }
  const auto code_of = [](Checkpointer& checkpointer) {
    try {
      checkpointer.settle(WriteState::kFailed);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code_of(good), ErrorCode::kCommunication);
  EXPECT_FALSE(fs::exists(folder().temporary_path(2, 1)));
  EXPECT_EQ(code_of(bad), ErrorCode::kIo);
  EXPECT_EQ(expect_whole(), 1);
}

TEST_F(Crashes, ALockedFolderNamesItsHolderUntilThatIsKilled) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t holder = start([&] {
    const RunLock lock(output_dir_);
    EXPECT_EQ(::write(ready[1], "x", 1), 1);
    ::pause();
  });
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THAT([&] { RunLock lock(output_dir_); },
              testing::ThrowsMessage<Error>(
                  HasSubstr("is in use by process " + std::to_string(holder) + " on ")));
  ::kill(holder, SIGKILL);
  wait(holder);
  EXPECT_NO_THROW(RunLock lock(output_dir_));
}

}  // namespace
}  // namespace wattle
