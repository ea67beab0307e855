#pragma once

#include <cstdint>
#include <vector>

#include "compression/integer/fixed_point.h"

namespace wattle {

// int8 tensors in row-major order, one sample at a time; sums in int32. A code's value is
// (code - zero) * scale.

/// How sums become codes of the output: zero + sum * factor, within [low, high].
struct Requantisation {
  std::vector<FixedPoint> factors;  ///< of each output channel, or one for all
  int32_t zero = 0;
  int32_t low = -128;
  int32_t high = 127;

  int8_t code_of(int32_t sum, int64_t channel) const;
};

/// A product's weight and bias.
struct IntegerWeight {
  const int8_t* codes = nullptr;  ///< [outputs, columns]
  const int32_t* bias = nullptr;  ///< [outputs]; nullptr if there is none
  int64_t outputs = 0;
  int64_t columns = 0;
};

/// Where a square kernel lies on an image.
struct ConvolutionShape {
  int64_t channels = 0, height = 0, width = 0;  ///< of the input
  int64_t kernel = 1, stride = 1, padding = 0;

  int64_t out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
  int64_t out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
};

/// y [outputs] of x [columns].
void integer_linear(const int8_t* x, int32_t x_zero, const IntegerWeight& weight,
                    const Requantisation& requantisation, int8_t* y);

/// y [outputs, out_height, out_width] of x [channels, height, width]; what lies beyond the image
/// has the value 0.
void integer_convolution(const int8_t* x, int32_t x_zero, const ConvolutionShape& shape,
                         const IntegerWeight& weight, const Requantisation& requantisation,
                         int8_t* y);

/// A summand of integer_add(): its codes and what they are scaled by before they are added.
struct Summand {
  const int8_t* codes = nullptr;
  int32_t zero = 0;
  FixedPoint factor;
};
/// Codes are shifted up by so many bits before they are scaled, so that rounding costs nothing.
inline constexpr int kSummandBits = 20;
void integer_add(const Summand& a, const Summand& b, int64_t count,
                 const Requantisation& requantisation, int8_t* y);

/// y [channels, height / window, width / window] of x [channels, height, width].
void integer_max_pool(const int8_t* x, int64_t channels, int64_t height, int64_t width,
                      int64_t window, int8_t* y);

/// y [channels] from the sums over x [channels, plane].
void integer_sum(const int8_t* x, int32_t x_zero, int64_t channels, int64_t plane,
                 const Requantisation& requantisation, int8_t* y);

}  // namespace wattle
