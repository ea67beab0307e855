#pragma once

#include <cstdint>

namespace wattle {

/// A positive factor as a 32-bit integer and a shift: multiplier * 2^-31 * 2^-shift, multiplier in
/// [2^30, 2^31) (Jacob et al. 2018, section 2.2).
struct FixedPoint {
  int32_t multiplier = 0;
  int shift = 0;  ///< below 0 for factors of 1 and more
};

/// The nearest one; 0 for factors below 2^-31, which leave less than 1 of any int32. Throws
/// Error(kInternal) unless 0 <= factor < 2^30.
FixedPoint fixed_point_of(double factor);

/// value * factor, rounded to the nearest, ties up, by one 64-bit product and a shift.
inline int64_t scaled(int32_t value, const FixedPoint& factor) {
  const int shift = 31 + factor.shift;
  const int64_t product = static_cast<int64_t>(value) * factor.multiplier;
  return (product + (int64_t{1} << (shift - 1))) >> shift;
}

}  // namespace wattle
