#include "compression/integer/integer_kernels.h"

#include <algorithm>

namespace wattle {
namespace {

/// sum of a[i] * b[i]; 16 bits wide, so that pairs are multiplied and added at once.
int32_t dot(const int16_t* a, const int8_t* b, int64_t count) {
  int32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<int32_t>(a[i]) * b[i];
  return sum;
}

/// One row of the outputs for inputs whose zero is taken off.
void product(const int16_t* column, const IntegerWeight& weight, const Requantisation& r, int8_t* y,
             int64_t y_stride) {
  for (int64_t o = 0; o < weight.outputs; ++o) {
    const int32_t bias = weight.bias ? weight.bias[o] : 0;
    const int32_t sum = bias + dot(column, weight.codes + o * weight.columns, weight.columns);
    y[o * y_stride] = r.code_of(sum, o);
  }
}

/// What a kernel at (row, column) of the output covers, zero taken off, in the weight's order.
void gather(const int8_t* x, int32_t zero, const ConvolutionShape& s, int64_t row, int64_t column,
            int16_t* covered) {
  for (int64_t c = 0; c < s.channels; ++c) {
    for (int64_t i = 0; i < s.kernel; ++i) {
      const int64_t h = row * s.stride - s.padding + i;
      for (int64_t j = 0; j < s.kernel; ++j) {
        const int64_t w = column * s.stride - s.padding + j;
        const bool inside = h >= 0 && h < s.height && w >= 0 && w < s.width;
        *covered++ = static_cast<int16_t>(inside ? x[(c * s.height + h) * s.width + w] - zero : 0);
      }
    }
  }
}

}  // namespace

int8_t Requantisation::code_of(int32_t sum, int64_t channel) const {
  const FixedPoint& factor = factors[factors.size() == 1 ? 0 : channel];
  const int64_t code = int64_t{zero} + scaled(sum, factor);
  return static_cast<int8_t>(std::clamp<int64_t>(code, low, high));
}

void integer_linear(const int8_t* x, int32_t x_zero, const IntegerWeight& weight,
                    const Requantisation& requantisation, int8_t* y) {
  std::vector<int16_t> column(weight.columns);
  std::transform(x, x + weight.columns, column.begin(),
                 [&](int8_t code) { return static_cast<int16_t>(code - x_zero); });
  product(column.data(), weight, requantisation, y, 1);
}

void integer_convolution(const int8_t* x, int32_t x_zero, const ConvolutionShape& shape,
                         const IntegerWeight& weight, const Requantisation& requantisation,
                         int8_t* y) {
  std::vector<int16_t> covered(weight.columns);
  const int64_t plane = shape.out_height() * shape.out_width();
  for (int64_t row = 0; row < shape.out_height(); ++row) {
    for (int64_t column = 0; column < shape.out_width(); ++column) {
      gather(x, x_zero, shape, row, column, covered.data());
      product(covered.data(), weight, requantisation, y + row * shape.out_width() + column, plane);
    }
  }
}

void integer_add(const Summand& a, const Summand& b, int64_t count,
                 const Requantisation& requantisation, int8_t* y) {
  for (int64_t i = 0; i < count; ++i) {
    const int32_t left = (a.codes[i] - a.zero) * (1 << kSummandBits);
    const int32_t right = (b.codes[i] - b.zero) * (1 << kSummandBits);
    y[i] = requantisation.code_of(
        static_cast<int32_t>(scaled(left, a.factor) + scaled(right, b.factor)), 0);
  }
}

void integer_max_pool(const int8_t* x, int64_t channels, int64_t height, int64_t width,
                      int64_t window, int8_t* y) {
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t row = 0; row < height / window; ++row) {
      for (int64_t column = 0; column < width / window; ++column) {
        int8_t largest = INT8_MIN;
        for (int64_t i = 0; i < window * window; ++i) {
          const int64_t h = row * window + i / window, w = column * window + i % window;
          largest = std::max(largest, x[(c * height + h) * width + w]);
        }
        *y++ = largest;
      }
    }
  }
}

void integer_sum(const int8_t* x, int32_t x_zero, int64_t channels, int64_t plane,
                 const Requantisation& requantisation, int8_t* y) {
  for (int64_t c = 0; c < channels; ++c) {
    int32_t sum = 0;
    for (int64_t i = 0; i < plane; ++i) sum += x[c * plane + i] - x_zero;
    y[c] = requantisation.code_of(sum, 0);
  }
}

}  // namespace wattle
