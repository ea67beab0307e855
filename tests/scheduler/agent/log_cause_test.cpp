#include "scheduler/agent/files/log_cause.h"

#include <gtest/gtest.h>

#include "tests/support/scratch_folder.h"

namespace wattle::agent {
namespace {

const std::string kRule = std::string(74, '-') + "\n";
const std::string kAborted =
    kRule +
    "Primary job  terminated normally, but 1 process returned\n"
    "a non-zero exit code. Per user-direction, the job has been aborted.\n" +
    kRule + kRule +
    "mpirun detected that one or more processes exited with non-zero "
    "status, thus causing\nthe job to be terminated. The first process to "
    "do so was:\n\n  Process name: [[3,1],0]\n  Exit code:    2\n" +
    kRule;

TEST(LogCause, OfAWrongConfigurationIsItsLastLine) {
  const std::string error = "run.yaml:4:33: data.path: no such file: 'text.txt'";
  EXPECT_EQ(cause_in_log("warning: energy: slow\n" + error + "\n" + kAborted, 2), error);
  EXPECT_EQ(cause_in_log(error, 2), error);
}

TEST(LogCause, OfARunIsWhatTheTrainerHasMarked) {
  const std::string error = "wattle: rank 1: train: step 2: loss is nan";
  EXPECT_EQ(cause_in_log("step 1/9\n" + error + "\nmy own text\n" + kAborted, 1), error);
  EXPECT_EQ(cause_in_log("step 1/9\nmy own text\n" + kAborted, 1), "");
  EXPECT_EQ(cause_in_log("", 1), "");
}

TEST(LogCause, OfARankThatWasKilledIsMpirunsWord) {
  const std::string killed = kRule +
                             "mpirun noticed that process rank 0 with PID 0 on node n1 exited on\n"
                             "signal 9 (Killed).\n" +
                             kRule;
  EXPECT_EQ(
      cause_in_log("step 1/9\n" + killed, 137),
      "mpirun noticed that process rank 0 with PID 0 on node n1 exited on signal 9 (Killed).");
}

TEST(LogCause, HasNoControlCharacters) {
  EXPECT_EQ(cause_in_log("run.yaml: \x1b[2J\xff\n", 2), "run.yaml: ?[2J?");
}

TEST(LogCause, ReadsTheEndOfAFileAlone) {
  const ScratchFolder folder;
  const std::string many(1 << 20, 'x');
  EXPECT_EQ(cause_in_log_file(folder.put("log", many + "\nlast\n"), 2), "last");
  EXPECT_EQ(cause_in_log_file(folder.put("line", many), 2), "");
  EXPECT_EQ(cause_in_log_file(folder.path("none"), 2), "");
}

}  // namespace
}  // namespace wattle::agent
