#include "compression/formats/grid_kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/clones.h"
#include "common/ordered_floats.h"

// Compiled with -ffp-contract=off -fno-math-errno -fno-trapping-math (CMakeLists.txt).

namespace wattle {
namespace {

constexpr int32_t kInfinityBits = 0x7f800000;
constexpr int64_t kLanes = 16;

WATTLE_INLINE int32_t magnitude_bits(float x) { return std::bit_cast<int32_t>(x) & 0x7fffffff; }

WATTLE_INLINE float code_of(float x, const IntegerGrid& g) {
  return std::min(g.high, std::max(g.low, std::rint(x / g.scale) + g.zero));
}

/// take(i, lane) for every i below `count`: kLanes neighbours side by side, which a processor does
/// at once.
template <class Take>
WATTLE_INLINE void in_lanes(int64_t count, const Take& take) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) take(i + lane, lane);
  }
  for (int64_t lane = 0; i < count; ++i, ++lane) take(i, lane);
}

/// The sum of term(i), lane by lane.
template <class Term>
WATTLE_INLINE double sum_in_lanes(int64_t count, const Term& term) {
  double sums[kLanes] = {};
  in_lanes(
      count, [&](int64_t i, int64_t lane)
                 __attribute__((always_inline)) { sums[lane] += term(i); });
  double sum = 0;
  for (const double lane : sums) sum += lane;
  return sum;
}

WATTLE_INLINE ValueRange range_in(const float* x, int64_t count) {
  int32_t low = 0, high = 0;
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, order_of(x[i]));
    high = std::max(high, order_of(x[i]));
  }
  return {float_at(low) + 0.0f, float_at(high), is_finite_order(low) && is_finite_order(high)};
}

WATTLE_INLINE IntegerGrid grid_in(const IntegerRule& rule, float smallest, float largest) {
  IntegerGrid grid{1, 0, rule.low, rule.high};
  const float range = rule.symmetric ? std::max(-smallest, largest) : largest - smallest;
  const float scale = range / (rule.symmetric ? rule.steps : rule.high - rule.low);
  if (scale > 0) grid.scale = scale;
  if (rule.symmetric) return grid;
  const float zero = std::rint(rule.low - smallest / grid.scale);
  grid.zero = std::min(rule.high, std::max(rule.low, zero));
  return grid;
}

WATTLE_INLINE void round_in(const float* x, float* y, int64_t count, const IntegerGrid& grid) {
  for (int64_t i = 0; i < count; ++i) y[i] = (code_of(x[i], grid) - grid.zero) * grid.scale;
}

/// kSize: of every segment, where the compiler may know it.
template <int64_t kSize>
WATTLE_INLINE int64_t round_segments(const float* x, float* y, int64_t segments, int64_t size,
                                     const IntegerRule& rule) {
  if constexpr (kSize > 0) size = kSize;
  int64_t broken = segments;
  for (int64_t i = 0; i < segments; ++i, x += size, y += size) {
    const ValueRange range = range_in(x, size);
    round_in(x, y, size, grid_in(rule, range.smallest, range.largest));
    if (!range.finite) broken = std::min(broken, i);
  }
  return broken;
}

constexpr float kLargestFp8 = 448.0f;
constexpr float kSmallestNormalFp8 = 0x1p-6f;
constexpr float kFp8Subnormals = 0x1p-9f;  ///< their spacing

/// The nearest number of e4m3, ties to even. Rounding the float's mantissa to three bits carries
/// into its exponent as it should.
WATTLE_INLINE float nearest_fp8(float v) {
  const float clamped = std::min(kLargestFp8, std::max(-kLargestFp8, v));
  const uint32_t bits = std::bit_cast<uint32_t>(clamped);
  const uint32_t rounded = (bits + 0x7ffffu + ((bits >> 20) & 1u)) & 0xfff00000u;
  const float normal = std::bit_cast<float>(rounded);
  const float subnormal = std::rint(clamped / kFp8Subnormals) * kFp8Subnormals;
  return std::fabs(clamped) < kSmallestNormalFp8 ? subnormal : normal;
}

/// Of a number that e4m3 has: exponent bias 127 to 7, or the count of subnormal steps.
WATTLE_INLINE uint8_t fp8_bits(float number) {
  const uint32_t bits = std::bit_cast<uint32_t>(number);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude >> 20) - ((127u - 7u) << 3);
  const auto subnormal = static_cast<uint32_t>(static_cast<int32_t>(
      std::fabs(number) < kSmallestNormalFp8 ? std::fabs(number) / kFp8Subnormals : 0.0f));
  return static_cast<uint8_t>(sign | (std::fabs(number) < kSmallestNormalFp8 ? subnormal : normal));
}

}  // namespace

ValueRange joined(const ValueRange& a, const ValueRange& b) {
  return {std::min(a.smallest, b.smallest), std::max(a.largest, b.largest), a.finite && b.finite};
}

WATTLE_CLONES ValueRange range_of_values(const float* x, int64_t count) {
  return range_in(x, count);
}

IntegerGrid grid_of_extremes(const IntegerRule& rule, float smallest, float largest) {
  return grid_in(rule, smallest, largest);
}

WATTLE_CLONES int64_t round_segments_to_integers(const float* x, float* y, int64_t segments,
                                                 int64_t size, const IntegerRule& rule) {
  const IntegerRule r = rule;
  return size == 32    ? round_segments<32>(x, y, segments, size, r)
         : size == 128 ? round_segments<128>(x, y, segments, size, r)
                       : round_segments<0>(x, y, segments, size, r);
}

double step_below(double largest) {
  int exponent = 0;
  std::frexp(largest, &exponent);
  return std::ldexp(1.0, exponent - 30);
}

/// By the bits, as short segments ask for it often; subnormal numbers count as the least normal.
double magnitude_step(const ValueRange& range) {
  const float largest = std::max(-range.smallest, range.largest);
  const auto exponent = static_cast<uint64_t>(std::bit_cast<uint32_t>(largest) >> 23);
  return std::bit_cast<double>((exponent + 1 - 127 - 30 + 1023) << 52);
}

WATTLE_CLONES int64_t magnitudes_in_steps(const float* x, int64_t count, double step) {
  const double steps = 1 / step;  // a power of two, as the step is
  return static_cast<int64_t>(sum_in_lanes(
      count, [&](int64_t i) __attribute__((always_inline)) {
        return std::rint(static_cast<double>(std::fabs(x[i])) * steps);
      }));
}

WATTLE_CLONES bool round_to_integers(float* x, int64_t count, const IntegerGrid& grid) {
  const IntegerGrid g = grid;
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, magnitude_bits(x[i]));
    x[i] = (code_of(x[i], g) - g.zero) * g.scale;
  }
  return largest < kInfinityBits;
}

WATTLE_CLONES bool integer_codes(const float* x, int16_t* codes, int64_t count,
                                 const IntegerGrid& grid) {
  const IntegerGrid g = grid;
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, magnitude_bits(x[i]));
    codes[i] = static_cast<int16_t>(static_cast<int32_t>(code_of(x[i], g)));
  }
  return largest < kInfinityBits;
}

WATTLE_CLONES void clip_to_integers(const float* x, float* gradient, int64_t count,
                                    const IntegerGrid& grid) {
  const IntegerGrid g = grid;
  for (int64_t i = 0; i < count; ++i) {
    const float position = x[i] / g.scale + g.zero;
    const bool beyond = position < g.low - 0.5f || position > g.high + 0.5f;
    gradient[i] = beyond ? 0.0f : gradient[i];
  }
}

WATTLE_CLONES int64_t squared_errors_in_steps(const float* x, int64_t count,
                                              const IntegerGrid& grid, double step) {
  const IntegerGrid g = grid;
  const double steps = 1 / step;
  return static_cast<int64_t>(sum_in_lanes(
      count, [&](int64_t i) __attribute__((always_inline)) {
        const double error = static_cast<double>(x[i]) - (code_of(x[i], g) - g.zero) * g.scale;
        return std::rint(error * error * steps);
      }));
}

WATTLE_CLONES double scale_gradient(const float* x, float* gradient, int64_t count,
                                    const IntegerGrid& grid, bool inside) {
  const IntegerGrid g = grid;
  const float counted = inside ? 1.0f : 0.0f;
  return sum_in_lanes(
      count, [&](int64_t i) __attribute__((always_inline)) {
        const float v = x[i] / g.scale;
        const bool below = v <= g.low, above = v >= g.high;
        const float slope = below ? g.low : above ? g.high : counted * (std::rint(v) - v);
        const auto term = static_cast<double>(gradient[i] * slope);
        gradient[i] = below || above ? 0.0f : gradient[i];
        return term;
      });
}

WATTLE_CLONES bool round_to_fp8(float* x, int64_t count, float scale) {
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, magnitude_bits(x[i]));
    x[i] = nearest_fp8(x[i] / scale) * scale;
  }
  return largest < kInfinityBits;
}

WATTLE_CLONES bool fp8_codes(const float* x, uint8_t* codes, int64_t count, float scale) {
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, magnitude_bits(x[i]));
    codes[i] = fp8_bits(nearest_fp8(x[i] / scale));
  }
  return largest < kInfinityBits;
}

}  // namespace wattle
