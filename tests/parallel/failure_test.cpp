#include "parallel/failure/failure.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

/// A job under mpirun, of which the last rank ends in the way `way` while the others do `work`.
class FailureTest : public testing::Test {
 protected:
  /// `beside`: commands that run beside the job, with $job as mpirun's process.
  void run(int ranks, const std::string& way, const std::string& work,
           const std::string& beside = "") {
    const std::string command = std::string(WATTLE_MPIRUN) + " -np " + std::to_string(ranks) + " " +
                                WATTLE_FAILING_JOB + " " + way + " " + work + " " + output_dir_ +
                                more_arguments_;
    const std::string script = "exec 2>&1; " + command + " & job=$!; " + beside + " wait $job";
    FILE* pipe = ::popen(script.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    char buffer[4096];
    while (size_t n = ::fread(buffer, 1, sizeof(buffer), pipe)) output_.append(buffer, n);
    status_ = ::pclose(pipe);
    read_duration();
    std::istringstream lines(output_);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("wattle: ") || line.starts_with("run.yaml") || line == "progress") {
        lines_.push_back(line);
      }
    }
  }

  /// From the first rank's end, which the job marks by a file, to the job's.
  void read_duration() {
    const std::string end = output_dir_ + "/end";
    if (!std::filesystem::exists(end)) return;
    const auto began = std::filesystem::last_write_time(end);
    seconds_ = std::chrono::duration<double>(std::filesystem::file_time_type::clock::now() - began)
                   .count();
  }

  int exit_code() const { return WIFEXITED(status_) ? WEXITSTATUS(status_) : -1; }
  std::string last_line() const { return lines_.empty() ? "" : lines_.back(); }
  long causes() const {
    return std::count_if(lines_.begin(), lines_.end(),
                         [](const std::string& line) { return line != "progress"; });
  }
  nlohmann::json error_file() const {
    std::ifstream file(output_dir_ + "/error.json");
    return nlohmann::json::parse(file, nullptr, false);
  }

  void expect_ended_in_time() {
    ASSERT_TRUE(seconds_) << "no rank ended as it should";
    EXPECT_LT(*seconds_, 10) << "from the first rank's end to the job's";
  }

  /// `line` is the last one, and ends with `message`, which stands in error.json too.
  void expect_cause(const std::string& line, const std::string& message, int rank) {
    EXPECT_THAT(last_line(), StartsWith(line + message)) << output_;
    EXPECT_EQ(causes(), 1) << output_;
    EXPECT_THAT(error_file().value("message", ""), StartsWith(message));
    if (rank >= 0) {
      EXPECT_EQ(error_file().value("rank", -1), rank);
    }
    expect_ended_in_time();
  }

  ScratchFolder folder_;
  std::string output_dir_ = folder_.path();
  std::string more_arguments_;
  std::string output_;
  std::vector<std::string> lines_;
  std::optional<double> seconds_;
  int status_ = 0;
};

TEST_F(FailureTest, AJobThatEndsWellSaysNothing) {
  run(3, "well", "wait");
  EXPECT_EQ(exit_code(), 0) << output_;
  EXPECT_EQ(output_, "");
  EXPECT_FALSE(std::filesystem::exists(output_dir_ + "/error.json"));
}

TEST_F(FailureTest, AThrowingRankEndsTheJobWithItsCause) {
  run(3, "throw", "collective");
  expect_cause("wattle: rank 2: train: ", "shard 3 is truncated", 2);
  EXPECT_EQ(exit_code(), kExitFailed);
  EXPECT_EQ(error_file().value("component", ""), "train");
  EXPECT_THAT(error_file().value("time", ""), EndsWith("Z"));
}

TEST_F(FailureTest, AnyExceptionIsACause) {
  run(2, "throw_foreign", "shared_memory");
  expect_cause("wattle: rank 1: train: ", "index 7", 1);
}

TEST_F(FailureTest, TheCauseIsTheLastLineThoughOthersTalk) {
  run(3, "throw", "talk");
  expect_cause("wattle: rank 2: train: ", "shard 3 is truncated", 2);
}

TEST_F(FailureTest, AConfigurationErrorOnEveryRankIsToldOnce) {
  run(4, "wrong_config", "wait");
  expect_cause("", "run.yaml:2:1: learning: unknown key", -1);
  EXPECT_EQ(exit_code(), kExitUsage);
}

TEST_F(FailureTest, ABackendThatCannotMoveTheTensorsIsAConfigurationError) {
  run(2, "nccl_for_cpu", "wait");
  EXPECT_EQ(exit_code(), kExitUsage);
  EXPECT_THAT(output_,
              HasSubstr("parallelism.backend: nccl moves GPU tensors, mpi is for CPUs; this "
                        "run trains on cpu\n"));
}

TEST_F(FailureTest, OneRankAloneFailsTheSameWay) {
  run(1, "wrong_config", "wait");
  expect_cause("", "run.yaml:2:1: learning: unknown key", 0);
  EXPECT_EQ(exit_code(), kExitUsage);
}

TEST_F(FailureTest, ACauseOfAnEarlierAttemptIsReplaced) {
  std::ofstream(output_dir_ + "/error.json") << R"({"message": "of yesterday"})";
  run(2, "throw", "wait");
  expect_cause("wattle: rank 1: train: ", "shard 3", 1);
}

/// Ways to end without a word, and what the others do meanwhile.
class SilentEndTest : public FailureTest,
                      public testing::WithParamInterface<std::pair<const char*, const char*>> {};
INSTANTIATE_TEST_SUITE_P(
    Ways, SilentEndTest,
    testing::Values(std::pair("kill", "collective"), std::pair("kill", "shared_memory"),
                    std::pair("kill", "wait"), std::pair("kill", "talk"),
                    std::pair("crash", "collective"), std::pair("exit", "shared_memory"),
                    std::pair("exit_well", "collective")),
    [](const auto& info) { return std::string(info.param.first) + "_" + info.param.second; });

TEST_P(SilentEndTest, IsNoticedAndNamedByThePeers) {
  run(3, GetParam().first, GetParam().second);
  EXPECT_THAT(last_line(), AllOf(HasSubstr(": process watch: rank 2 (process "),
                                 HasSubstr("ended unexpectedly")))
      << output_;
  expect_cause("wattle: rank ", "", -1);
  EXPECT_THAT(error_file().value("message", ""), StartsWith("rank 2 (process "));
  EXPECT_NE(exit_code(), 0);
}

TEST_F(FailureTest, AWaitInSharedMemoryNoticesADeadPeerByItself) {
  more_arguments_ = " unguarded";
  run(2, "kill", "shared_memory");
  EXPECT_THAT(last_line(),
              AllOf(StartsWith("wattle: rank 0: rank 1 (process "), EndsWith("has ended")))
      << output_;
  expect_ended_in_time();
}

TEST_F(FailureTest, Sigusr1ToMpirunStopsEveryRank) {
  run(3, "stop", "wait",
      "while [ $(ls " + output_dir_ + " | wc -l) -lt 3 ]; do sleep 0.05; done; kill -USR1 $job;");
  EXPECT_EQ(exit_code(), kExitStopped) << output_;
  EXPECT_EQ(causes(), 0) << output_;
}

}  // namespace
}  // namespace wattle
