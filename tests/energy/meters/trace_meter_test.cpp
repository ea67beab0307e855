#include "energy/meters/trace_meter.h"

#include <gmock/gmock.h>

#include "common/error.h"
#include "tests/energy/support/fake_clock.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

using testing::HasSubstr;

class TraceMeterTest : public testing::Test {
 protected:
  std::vector<PowerTrace> read(const std::string& text) {
    return read_power_traces(folder_.put("power.csv", text));
  }
  TraceMeter replay(const std::string& text) { return TraceMeter(read(text).front(), clock_); }
  std::string failure(const std::string& text) {
    try {
      read(text);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kFormat);
      return e.what();
    }
    return "no failure";
  }
  double joules_at(TraceMeter& meter, double seconds) {
    clock_.set(seconds);
    return meter.read();
  }

  ScratchFolder folder_;
  FakeClock clock_;
};

TEST_F(TraceMeterTest, ReplaysTheAreaBelowTheCurve) {
  TraceMeter meter = replay("seconds,watts\n0,100\n10,200\n20,200\n");
  EXPECT_EQ(meter.info().source, Source::kReplayedTrace);
  EXPECT_EQ(joules_at(meter, 0), 0);
  EXPECT_EQ(joules_at(meter, 5), 625);
  EXPECT_EQ(joules_at(meter, 10), 1500);
  EXPECT_EQ(joules_at(meter, 20), 3500);
}

TEST_F(TraceMeterTest, TwoRowsAtOneTimeAreAStep) {
  TraceMeter meter = replay("0,100\n1,100\n1,300\n2,300\n");
  EXPECT_EQ(joules_at(meter, 1), 100);
  EXPECT_EQ(joules_at(meter, 2), 400);
}

TEST_F(TraceMeterTest, KeepsDevicesApart) {
  const auto traces = read("# two GPUs\nseconds,watts,device\n0,1,b\n0,2,a\n1,1,b\n1,2,a\n");
  ASSERT_EQ(traces.size(), 2u);
  EXPECT_EQ(traces[0].device, "a");
  EXPECT_EQ(traces[1].points.back().joules, 1);
}

TEST_F(TraceMeterTest, DoesNotAnswerInAHoleOrPastTheEnd) {
  TraceMeter meter = replay("0,100\n1,100\n2,\n3,nan\n4,100\n5,100\n");
  EXPECT_EQ(joules_at(meter, 1), 100);
  EXPECT_THROW(joules_at(meter, 1.5), Error);
  EXPECT_THROW(joules_at(meter, 2.5), Error);
  EXPECT_THROW(joules_at(meter, 3.5), Error);
  EXPECT_EQ(joules_at(meter, 5), 200);
  EXPECT_THROW(joules_at(meter, 5.1), Error);
}

TEST_F(TraceMeterTest, NamesTheLineThatIsWrong) {
  EXPECT_THAT(failure("0,100\n1,-5\n"), HasSubstr("power.csv:2: expected watts of at least 0"));
  EXPECT_THAT(failure("0,100\n1,inf\n"), HasSubstr("power.csv:2: expected watts"));
  EXPECT_THAT(failure("0,100\nnan,5\n"), HasSubstr("power.csv:2: 'nan' is no time"));
  EXPECT_THAT(failure("1,100\n0,100\n"), HasSubstr("power.csv:2: time falls from 1 s to 0 s"));
  EXPECT_THAT(failure("0,100\n1,many\n"), HasSubstr("got 'many'"));
  EXPECT_THAT(failure("0\n"), HasSubstr("expected seconds,watts[,device], got 1 cells"));
  EXPECT_THAT(failure("0,100\n"), HasSubstr("fewer than two rows"));
  EXPECT_THAT(failure(""), HasSubstr("no rows"));
}

TEST_F(TraceMeterTest, SaysThatAFileIsMissing) {
  EXPECT_THROW(read_power_traces(folder_.path("absent.csv")), Error);
}

}  // namespace
}  // namespace wattle
