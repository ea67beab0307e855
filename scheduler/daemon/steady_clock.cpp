#include "scheduler/daemon/steady_clock.h"

#include <time.h>

#include <algorithm>

namespace wattle::scheduler {
namespace {

double seconds_of(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

SteadyClock::SteadyClock(std::function<double()> wall_seconds,
                         std::function<double()> steady_seconds)
    : wall_seconds_(std::move(wall_seconds)),
      steady_seconds_(std::move(steady_seconds)),
      now_(wall_seconds_()),
      steady_(steady_seconds_()) {}

SteadyClock::SteadyClock()
    : SteadyClock(machine_seconds, [] { return seconds_of(CLOCK_BOOTTIME); }) {}

double SteadyClock::machine_seconds() { return seconds_of(CLOCK_REALTIME); }

SteadyClock::SteadyClock(const std::function<double()>& seconds, double begin_seconds)
    : SteadyClock(seconds, seconds) {
  now_ = std::max(now_, begin_seconds);
}

double SteadyClock::now() {
  const std::lock_guard lock(mutex_);
  const double steady = steady_seconds_();
  const double passed = std::max(0.0, steady - steady_);
  steady_ = std::max(steady, steady_);
  now_ += passed;
  now_ += std::clamp(wall_seconds_() - now_, -kSlewBack * passed, kSlew * passed);
  return now_;
}

}  // namespace wattle::scheduler
