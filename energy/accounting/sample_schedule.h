#pragma once

#include <random>

namespace wattle {

/// How long to wait from one reading of a power meter to the next: the interval on average, at
/// random up to half of it more or less. A load that repeats (training steps do) would beat with
/// readings at even distances: each would then fall on the same part of a step.
class SampleSchedule {
 public:
  explicit SampleSchedule(double interval_seconds, unsigned seed = 1)
      : random_(seed), wait_(0.5 * interval_seconds, 1.5 * interval_seconds) {}

  double next_wait_seconds() { return wait_(random_); }

 private:
  std::minstd_rand random_;
  std::uniform_real_distribution<double> wait_;
};

}  // namespace wattle
