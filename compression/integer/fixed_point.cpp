#include "compression/integer/fixed_point.h"

#include <fmt/format.h>

#include <cmath>

#include "common/error.h"

namespace wattle {

FixedPoint fixed_point_of(double factor) {
  if (!(factor >= 0) || !(factor < 0x1p30)) {
    throw Error(ErrorCode::kInternal,
                fmt::format("{} can't be a fixed-point factor, from 0 to 2^30", factor));
  }
  if (factor < 0x1p-31) return {};
  int exponent = 0;
  const double fraction = std::frexp(factor, &exponent);  // in [0.5, 1)
  auto multiplier = static_cast<int64_t>(std::llround(std::ldexp(fraction, 31)));
  if (multiplier == int64_t{1} << 31) {
    multiplier /= 2;
    ++exponent;
  }
  return {static_cast<int32_t>(multiplier), -exponent};
}

}  // namespace wattle
