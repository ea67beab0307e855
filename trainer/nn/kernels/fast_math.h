#pragma once

#include <bit>
#include <cstdint>

#include "common/clones.h"

namespace wattle {

/// e^x within 2 units in the last place; 0 below -87.3, and x is taken as 88 above that. Plain
/// arithmetic that compilers vectorise. Range reduction and polynomial as in Cephes' expf.
WATTLE_INLINE float fast_exp(float x) {
  x = x > 88.0f ? 88.0f : x;
  const bool underflows = x < -87.3f;
  x = underflows ? 0.0f : x;
  // Adding and taking away 1.5 * 2^23 rounds to an integer.
  const float shifted = x * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const int32_t exponent = (std::bit_cast<int32_t>(shifted) - 0x4B400000 + 127) << 23;
  return underflows ? 0.0f : p * std::bit_cast<float>(exponent);
}

WATTLE_INLINE float fast_sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

}  // namespace wattle
