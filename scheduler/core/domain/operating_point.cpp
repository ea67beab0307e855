#include "scheduler/core/domain/operating_point.h"

#include <algorithm>
#include <cmath>

namespace wattle::scheduler {

std::vector<double> limit_levels(const DeviceType& type) {
  constexpr double kStrideWatts = 25;
  constexpr int kFewestSteps = 4, kMostSteps = 8;
  const double range = type.max_limit_watts - type.min_limit_watts;
  if (range <= 0) return {type.max_limit_watts};
  const int steps =
      std::clamp(static_cast<int>(std::lround(range / kStrideWatts)), kFewestSteps, kMostSteps);
  std::vector<double> levels;
  for (int i = 0; i <= steps; ++i) levels.push_back(type.min_limit_watts + range * i / steps);
  return levels;
}

}  // namespace wattle::scheduler
