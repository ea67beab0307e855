#include "scheduler/daemon/clock_watch.h"

#include <spdlog/spdlog.h>

#include <cmath>

#include "scheduler/daemon/steady_clock.h"

namespace wattle::scheduler {
namespace {

constexpr double kWorthAWord = 1;

/// Caps, deadlines and budgets of a time on the wall are judged by the scheduler's.
void warn(double offset_seconds) {
  const bool is_ahead = offset_seconds > 0;
  const double seconds = std::abs(offset_seconds);
  const double slew = is_ahead ? SteadyClock::kSlewBack : SteadyClock::kSlew;
  spdlog::warn(
      "the machine's clock is {:.1f} s {} the scheduler's time, which does not jump: it was set, "
      "or was wrong before. Windows of caps, deadlines and budget periods come that much {}; the "
      "scheduler's time runs {:.0f} % {} and is right again within {:.0f} s",
      seconds, is_ahead ? "behind" : "ahead of", is_ahead ? "early" : "late", 100 * slew,
      is_ahead ? "slower" : "faster", seconds / slew);
}

}  // namespace

ClockWatch::Word ClockWatch::look(double offset_seconds) {
  const double off = std::abs(offset_seconds);
  const bool is_same_side = offset_seconds * told_seconds_ > 0;
  const double told = is_same_side ? std::abs(told_seconds_) : 0;
  if (off >= told + kWorthAWord) {
    told_seconds_ = offset_seconds;
    warn(offset_seconds);
    return Word::kIsOff;
  }
  if (told_seconds_ != 0 && off < kWorthAWord / 2) {
    told_seconds_ = 0;
    spdlog::info("the scheduler's time is the machine's again");
    return Word::kIsRight;
  }
  if (off < told) told_seconds_ = offset_seconds;
  return Word::kNothing;
}

}  // namespace wattle::scheduler
