#pragma once

#include <cstdint>

namespace wattle {

// float32 kernels over one run of neighbours that share a scale, one thread. The bits don't depend
// on the processor.

/// What the values of a segment, or of a part of one, call for.
struct ValueRange {
  float smallest = 0;  ///< at most 0
  float largest = 0;   ///< at least 0
  bool finite = true;
};

/// Both as one.
ValueRange joined(const ValueRange& a, const ValueRange& b);
ValueRange range_of_values(const float* x, int64_t count);

/// Magnitudes are summed in whole steps of 2^-30 of the power of two that reaches the largest:
/// integers, so that the sum has the same bits in any order and however the values are split.
double magnitude_step(const ValueRange& range);
/// The same of the power of two that reaches `largest`.
double step_below(double largest);
/// Sum of rint(|x| / step); for finite values that are in that range, at most 2^20 of them.
int64_t magnitudes_in_steps(const float* x, int64_t count, double step);

/// Codes are the integers from `low` to `high`: code = clamp(rint(x / scale) + zero, low, high),
/// ties to even, as ONNX's QuantizeLinear; value = (code - zero) * scale.
struct IntegerGrid {
  float scale = 1;
  float zero = 0;
  float low = 0;
  float high = 0;
};

/// How the grid of a segment of integers follows from its extremes.
struct IntegerRule {
  bool symmetric = true;  ///< zero is 0, and the scale the larger magnitude / steps
  float steps = 0;        ///< from 0 to the largest magnitude
  float low = 0;
  float high = 0;
};
/// Of a range from `smallest` to `largest`, 0 between them; a range of zeros has the scale 1.
IntegerGrid grid_of_extremes(const IntegerRule& rule, float smallest, float largest);
/// Rounds neighbouring segments of `size` values, each by the grid of its extremes, from `x` to
/// `y`, which may be the same. Gives the first segment that has a value that is not finite, or
/// `segments`.
int64_t round_segments_to_integers(const float* x, float* y, int64_t segments, int64_t size,
                                   const IntegerRule& rule);

/// Replaces values by those of their codes. False if one of them is not finite.
bool round_to_integers(float* x, int64_t count, const IntegerGrid& grid);
/// The codes; false as above.
bool integer_codes(const float* x, int16_t* codes, int64_t count, const IntegerGrid& grid);
/// gradient = 0 where the value lies more than half a step beyond the grid's ends.
void clip_to_integers(const float* x, float* gradient, int64_t count, const IntegerGrid& grid);

/// Sum of rint((x - rounded x)^2 / step), the step a power of two: an integer, as above.
int64_t squared_errors_in_steps(const float* x, int64_t count, const IntegerGrid& grid,
                                double step);

/// Of a loss for the scale, from the gradient for the rounded values; that is then set to 0 where
/// x / scale <= low or >= high. Between the ends a value counts rint(x / scale) - x / scale if
/// `inside`, else nothing; at the ends low or high. The grid's zero is 0.
double scale_gradient(const float* x, float* gradient, int64_t count, const IntegerGrid& grid,
                      bool inside);

/// Codes are the finite numbers of the 8-bit float e4m3 (no infinities, largest 448; Micikevicius
/// et al. 2022, arXiv:2209.05433), times the scale; ties to even, beyond the largest: the largest.
bool round_to_fp8(float* x, int64_t count, float scale);
/// Bits of e4m3.
bool fp8_codes(const float* x, uint8_t* codes, int64_t count, float scale);

}  // namespace wattle
