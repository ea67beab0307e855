#pragma once

#include <atomic>

#include "energy/clock.h"

namespace wattle {

/// A clock whose hands the test turns; sleeping turns them too.
class FakeClock final : public Clock {
 public:
  double now_seconds() override { return now_; }
  void sleep_for(double seconds) override { now_ = now_ + seconds; }
  void set(double seconds) { now_ = seconds; }
  void advance(double seconds) { now_ = now_ + seconds; }

 private:
  std::atomic<double> now_ = 0;
};

}  // namespace wattle
