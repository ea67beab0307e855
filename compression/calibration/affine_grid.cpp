#include "compression/calibration/affine_grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"

namespace wattle {

AffineScale scale_of(const ClipRange& range, const AffineGrid& grid) {
  const double low = range.low, high = range.high;
  if (!std::isfinite(low) || !std::isfinite(high) || low > 0 || high < 0) {
    throw Error(ErrorCode::kInternal,
                fmt::format("calibration: [{}, {}] is no finite range with 0 in it", low, high));
  }
  const auto lowest = static_cast<double>(grid.lowest());
  const auto highest = static_cast<double>(grid.highest());
  AffineScale result;
  const double width = grid.symmetric ? 2 * std::max(-low, high) : high - low;
  const auto scale = static_cast<float>(width / (highest - lowest));
  if (scale == 0) return result;  // zeros, or values too small for a scale in float32
  result.scale = scale;
  if (!grid.symmetric) {
    const double zero_point = std::nearbyint(lowest - low / scale);
    result.zero_point = static_cast<int64_t>(std::clamp(zero_point, lowest, highest));
  }
  return result;
}

ClipRange covered_by(const AffineScale& scale, const AffineGrid& grid) {
  return {static_cast<float>(grid.lowest() - scale.zero_point) * scale.scale,
          static_cast<float>(grid.highest() - scale.zero_point) * scale.scale};
}

}  // namespace wattle
