#include "scheduler/daemon/clock_watch.h"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <sstream>

#include "tests/scheduler/daemon/daemon_story.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;
using testing::Not;
using enum ClockWatch::Word;

TEST(ClockWatch, SaysOnceThatTheClockWasSetAndOnceThatItIsRight) {
  ClockWatch watch;
  EXPECT_EQ(watch.look(0.9), kNothing);
  EXPECT_EQ(watch.look(60), kIsOff);
  for (double offset = 60; offset > 0.5; offset -= 0.1) {
    ASSERT_EQ(watch.look(offset), kNothing) << offset;
  }
  EXPECT_EQ(watch.look(0.4), kIsRight);
  EXPECT_EQ(watch.look(0.4), kNothing);
  EXPECT_EQ(watch.look(-1.1), kIsOff);
}

TEST(ClockWatch, SaysItAgainWhenTheClockIsSetAnew) {
  ClockWatch watch;
  EXPECT_EQ(watch.look(60), kIsOff);
  EXPECT_EQ(watch.look(20), kNothing);
  EXPECT_EQ(watch.look(20.9), kNothing);
  EXPECT_EQ(watch.look(30), kIsOff) << "less than the first time, but more than what was left";
  EXPECT_EQ(watch.look(-30), kIsOff);
}

class ClockOfTheDaemon : public DaemonTest {
 protected:
  double offset() {
    const std::string page = prometheus_text(*daemon_), name = "\nwattle_clock_offset_seconds ";
    const size_t at = page.find(name);
    return at == std::string::npos ? NAN : std::stod(page.substr(at + name.size()));
  }
};

TEST_F(ClockOfTheDaemon, IsWatchedWhileItRuns) {
  stop();
  std::ostringstream log;
  auto& sinks = spdlog::default_logger()->sinks();
  sinks.push_back(std::make_shared<spdlog::sinks::ostream_sink_mt>(log));
  start();
  EXPECT_NEAR(offset(), 0, 0.5);
  machine_is_behind_ = 3600;
  EXPECT_NEAR(offset(), 3600, 0.5);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  machine_is_behind_ = 0;
  std::this_thread::sleep_for(std::chrono::seconds(1));
  stop();
  sinks.pop_back();
  EXPECT_THAT(log.str(), HasSubstr("budget periods come that much early"));
  EXPECT_THAT(log.str(), HasSubstr("the scheduler's time is the machine's again"));
  EXPECT_THAT(log.str(), Not(HasSubstr("late")));
}

TEST_F(ClockOfTheDaemon, CountsWhatTheJournalIsAheadToo) {
  v1::SubmitResponse answer;
  ASSERT_TRUE(submit("a", kYaml, answer).ok());
  stop();
  now_ = now_ - 1000;
  start();
  EXPECT_NEAR(offset(), 1000, 0.5);
}

}  // namespace
}  // namespace wattle::scheduler
