#include "energy/limits/power_pacer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/error.h"

namespace wattle {
namespace {

/// Saved joules that may be spent later, as time at the cap: a fiftieth of the 10 s over which the
/// average must hold.
constexpr double kCreditSeconds = 0.2;
/// Weight of the newest observation in the estimate of the power of work; of one that is shorter
/// than the others, and so noisier, the less.
constexpr double kNewest = 0.2;
/// The longest pause: this long, or so many times the work before it.
constexpr double kLongestPauseSeconds = 2;
constexpr double kLongestPauseToWork = 19;

}  // namespace

PowerPacer::PowerPacer(double cap_watts, double floor_watts)
    : cap_watts_(cap_watts), floor_watts_(floor_watts) {
  set_cap(cap_watts);
}

void PowerPacer::set_cap(double cap_watts) {
  if (!std::isfinite(cap_watts) || cap_watts <= floor_watts_) {
    throw Error(
        ErrorCode::kConfig,
        fmt::format("energy.power_cap_watts: {} W can't be held: {} W are drawn without any "
                    "work",
                    cap_watts, floor_watts_));
  }
  cap_watts_ = cap_watts;
  debt_joules_ = 0;
  owed_seconds_ = 0;
}

void PowerPacer::expect_work(double watts) {
  if (work_watts_ > 0) return;
  work_watts_ = watts;
  is_work_expected_ = true;
}

void PowerPacer::observe(double seconds, double joules) {
  const double interval = seconds - observed_seconds_;
  if (has_observed_ && interval > 0 && joules >= observed_joules_) {
    const double used = joules - observed_joules_;
    debt_joules_ += used - cap_watts_ * interval;
    debt_joules_ = std::max(debt_joules_, -kCreditSeconds * cap_watts_);
    if (const double work = interval - pause_since_; work > 0.1 * interval) {
      const bool is_first = work_watts_ <= 0 || std::exchange(is_work_expected_, false);
      const double kept = is_first ? 0 : 1 - kNewest;
      work_joules_ = kept * work_joules_ + std::max(0.0, used - floor_watts_ * pause_since_);
      work_seconds_ = kept * work_seconds_ + work;
      work_watts_ = work_joules_ / work_seconds_;
    }
    owed_seconds_ = std::max(0.0, debt_joules_) / (cap_watts_ - floor_watts_);
  }
  has_observed_ = true;
  observed_seconds_ = seconds;
  observed_joules_ = joules;
  pause_since_ = 0;
  work_began_seconds_ = seconds;
}

/// Seconds of pause for a second of work.
double PowerPacer::share_of_pause() const {
  return std::max(0.0, work_watts_ - cap_watts_) / (cap_watts_ - floor_watts_);
}

double PowerPacer::pause_seconds(double now_seconds) const {
  if (!has_observed_) return 0;
  const double work = std::max(0.0, now_seconds - work_began_seconds_);
  return std::min(owed_seconds_ + work * share_of_pause(),
                  std::max(kLongestPauseSeconds, kLongestPauseToWork * work));
}

void PowerPacer::paused(double from_seconds, double to_seconds) {
  const double pause = std::max(0.0, to_seconds - from_seconds);
  const double for_work = std::max(0.0, from_seconds - work_began_seconds_) * share_of_pause();
  owed_seconds_ = std::max(0.0, owed_seconds_ - std::max(0.0, pause - for_work));
  pause_since_ += pause;
  work_began_seconds_ = to_seconds;
}

}  // namespace wattle
