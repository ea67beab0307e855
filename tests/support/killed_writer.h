#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

namespace wattle {

/// Has a process write(0), write(1), ... without end, kills it after 0 ms, 1 ms, ..., and each time
/// check(ms) what it has left. Ends at the first fatal failure.
inline void kill_while_writing(int kills, const std::function<void(int)>& write,
                               const std::function<void(int)>& check) {
  for (int kill = 0; kill < kills && !testing::Test::HasFatalFailure(); ++kill) {
    const pid_t writer = ::fork();
    ASSERT_GE(writer, 0);
    if (writer == 0) {
      for (int i = 0;; ++i) write(i);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kill));
    ASSERT_EQ(::kill(writer, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(writer, &status, 0), writer);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    check(kill);
  }
}

}  // namespace wattle
