#pragma once

#include <bit>
#include <cstdint>

namespace wattle {

/// Integers that order as the floats do: extremes of integers are found side by side without the
/// compiler being told that there are no NaN. -0 comes before +0; infinities, and beyond them NaN,
/// lie at both ends.
constexpr int32_t order_of(float x) {
  const auto bits = std::bit_cast<int32_t>(x);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
constexpr float float_at(int32_t order) {
  return std::bit_cast<float>(order ^ ((order >> 31) & 0x7fffffff));
}
constexpr int32_t kInfinityOrder = 0x7f800000;
constexpr bool is_finite_order(int32_t order) {
  return order > ~kInfinityOrder && order < kInfinityOrder;
}

}  // namespace wattle
