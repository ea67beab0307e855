#pragma once

namespace wattle {

/// Seconds that never jump with the calendar. Injected wherever time decides something, so that
/// tests turn the hands themselves. Safe to use from several threads.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Seconds since an origin of the clock's own choice.
  virtual double now_seconds() = 0;
  virtual void sleep_for(double seconds) = 0;
};

/// CLOCK_MONOTONIC.
class SteadyClock final : public Clock {
 public:
  double now_seconds() override;
  void sleep_for(double seconds) override;
};

}  // namespace wattle
