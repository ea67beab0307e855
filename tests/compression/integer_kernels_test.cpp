#include "compression/integer/integer_kernels.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/randint.h>
#include <gmock/gmock.h>

#include <cmath>

#include "common/error.h"

namespace wattle {
namespace {

using testing::Each;
using testing::ElementsAreArray;

TEST(FixedPoint, HoldsAFactorTo31Bits) {
  for (const double factor : {0.5, 0.999999999, 1.0, 1.5, 7.3, 1e-4, 0.1234567, 0x1p-31, 1e-9}) {
    const FixedPoint fixed = fixed_point_of(factor);
    EXPECT_GE(fixed.multiplier, 1 << 30);
    EXPECT_NEAR(std::ldexp(fixed.multiplier, -31 - fixed.shift) / factor, 1, 0x1p-31);
  }
  EXPECT_EQ(scaled(INT32_MAX, fixed_point_of(1e-10)), 0);
  EXPECT_THROW(fixed_point_of(-1), Error);
  EXPECT_THROW(fixed_point_of(0x1p30), Error);
}

TEST(FixedPoint, RoundsToTheNearest) {
  for (const double factor : {0.37, 0.0071, 1.9, 0.00001}) {
    const FixedPoint fixed = fixed_point_of(factor);
    for (int32_t value = -100000; value <= 100000; value += 37) {
      EXPECT_NEAR(static_cast<double>(scaled(value, fixed)), value * factor, 0.5 + 1e-4);
    }
  }
  EXPECT_EQ(scaled(1, fixed_point_of(0.5)), 1);
  EXPECT_EQ(scaled(-1, fixed_point_of(0.5)), 0);
}

/// Random codes in [-128, 127].
at::Tensor codes(at::IntArrayRef shape) { return at::randint(-128, 128, shape, at::kChar); }

std::vector<int8_t> bytes(const at::Tensor& values) {
  const at::Tensor whole = values.to(at::kChar).contiguous();
  return {whole.const_data_ptr<int8_t>(), whole.const_data_ptr<int8_t>() + whole.numel()};
}

/// What the sums of a product become, by floats that hold them exactly.
at::Tensor requantised(const at::Tensor& sums, const Requantisation& r, double factor) {
  return ((sums * factor + 0.5).floor() + r.zero).clamp(r.low, r.high);
}

TEST(IntegerConvolution, EqualsAnExactOneInDoubles) {
  struct Case {
    int64_t kernel, stride, padding;
  };
  for (const Case& c : {Case{3, 1, 1}, Case{3, 2, 1}, Case{1, 2, 0}}) {
    const at::Tensor x = codes({1, 3, 7, 6}), w = codes({4, 3, c.kernel, c.kernel});
    const at::Tensor bias = at::randint(-3000, 3000, {4}, at::kInt);
    constexpr int kZero = -17;
    Requantisation r{{fixed_point_of(0.0078125)}, 5, -100, 120};
    const at::Tensor sums = at::conv2d(x.to(at::kDouble) - kZero, w.to(at::kDouble),
                                       bias.to(at::kDouble), c.stride, c.padding);
    const ConvolutionShape shape{3, 7, 6, c.kernel, c.stride, c.padding};
    const IntegerWeight weight{w.const_data_ptr<int8_t>(), bias.const_data_ptr<int32_t>(), 4,
                               3 * c.kernel * c.kernel};
    std::vector<int8_t> y(sums.numel());
    integer_convolution(x.const_data_ptr<int8_t>(), kZero, shape, weight, r, y.data());
    EXPECT_THAT(y, ElementsAreArray(bytes(requantised(sums, r, 0.0078125))));
  }
}

TEST(IntegerLinear, HasAFactorForEachOutput) {
  const std::vector<int8_t> x = {10, -20}, w = {1, 2, 3, 4};
  const Requantisation r{{fixed_point_of(1), fixed_point_of(0.5)}, 0, -128, 127};
  std::vector<int8_t> y(2);
  integer_linear(x.data(), 2, {w.data(), nullptr, 2, 2}, r, y.data());
  EXPECT_THAT(y, ElementsAreArray({8 * 1 - 22 * 2, (8 * 3 - 22 * 4) / 2}));
}

TEST(IntegerAdd, AddsValuesOfTwoScales) {
  // Values a in steps of 0.25, b in steps of 0.1; the sum in steps of 0.2.
  for (int a = -128; a < 128; a += 5) {
    for (int b = -128; b < 128; b += 7) {
      const auto ca = static_cast<int8_t>(a), cb = static_cast<int8_t>(b);
      const double larger = 2 * 0.25;
      int8_t y = 0;
      integer_add({&ca, -3, fixed_point_of(0.25 / larger)}, {&cb, 9, fixed_point_of(0.1 / larger)},
                  1, {{fixed_point_of(larger / (0.2 * (1 << kSummandBits)))}, 4, -128, 127}, &y);
      const double exact = ((a + 3) * 0.25 + (b - 9) * 0.1) / 0.2 + 4;
      EXPECT_NEAR(y, std::clamp(exact, -128.0, 127.0), 0.5001);
    }
  }
}

TEST(IntegerPools, KeepTheLargestAndTheMean) {
  const at::Tensor x = codes({1, 2, 4, 6});
  std::vector<int8_t> y(2 * 2 * 3);
  integer_max_pool(x.const_data_ptr<int8_t>(), 2, 4, 6, 2, y.data());
  EXPECT_THAT(y, ElementsAreArray(bytes(at::max_pool2d(x.to(at::kFloat), {2, 2}))));
  std::vector<int8_t> means(2);
  const std::vector<int8_t> plane = {10, 20, 30, 40, -10, -10, -10, -10};
  integer_sum(plane.data(), -10, 2, 4, {{fixed_point_of(0.25)}, 1, -128, 127}, means.data());
  EXPECT_THAT(means, ElementsAreArray({36, 1}));
}

TEST(Requantisation, StaysWithinItsEnds) {
  const Requantisation r{{fixed_point_of(1)}, -128, -128, 127};
  EXPECT_EQ(r.code_of(1000, 0), 127);
  EXPECT_EQ(r.code_of(-1000, 0), -128);
  EXPECT_EQ(r.code_of(INT32_MAX, 0), 127);
}

}  // namespace
}  // namespace wattle
