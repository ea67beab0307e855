#pragma once

#include <functional>
#include <mutex>

namespace wattle::scheduler {

/// Wall-clock time that never jumps: leases are judged by it, and a step of the machine's clock
/// must not end them early or keep them for ever. It starts at the wall clock, or later, advances
/// by a clock that nobody sets, and approaches the wall clock: by at most kSlew seconds a second
/// where that is later, by at most kSlewBack where it is earlier.
///
/// Any thread.
class SteadyClock {
 public:
  static constexpr double kSlew = 0.01;
  /// Time that runs slowly only makes leases longer.
  static constexpr double kSlewBack = 0.1;

  /// `wall_seconds`: since 1970; `steady_seconds`: since anything.
  SteadyClock(std::function<double()> wall_seconds, std::function<double()> steady_seconds);
  /// The machine's own: CLOCK_REALTIME and CLOCK_BOOTTIME.
  SteadyClock();
  /// CLOCK_REALTIME: seconds since 1970, as the machine has them.
  static double machine_seconds();
  /// Starts at `begin_seconds` if that is later than what `seconds` says, which is a clock that
  /// never goes back, and nears it from there by kSlewBack.
  SteadyClock(const std::function<double()>& seconds, double begin_seconds);

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
