#pragma once

#include <functional>
#include <mutex>

namespace wattle::scheduler {

/// Wall-clock time that never jumps: leases are judged by it, and a step of the machine's clock
/// must not end them early or keep them for ever. It starts at the wall clock, advances by a clock
/// that nobody sets, and approaches the wall clock by at most kSlew seconds a second.
///
/// Any thread.
class SteadyClock {
 public:
  static constexpr double kSlew = 0.01;

  /// `wall_seconds`: since 1970; `steady_seconds`: since anything.
  SteadyClock(std::function<double()> wall_seconds, std::function<double()> steady_seconds);
  /// The machine's own: CLOCK_REALTIME and CLOCK_BOOTTIME.
  SteadyClock();

  /// Seconds since 1970.
  double now();

 private:
  std::function<double()> wall_seconds_;
  std::function<double()> steady_seconds_;
  std::mutex mutex_;
  double now_;
  double steady_;  ///< at that moment
};

}  // namespace wattle::scheduler
