#include "compression/formats/grid_format.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Float8_e4m3fn.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "compression/formats/values_refusal.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int> codes_of(const EncodedWeight& encoded) {
  const at::Tensor wide = encoded.codes.to(at::kInt).flatten().contiguous();
  return {wide.const_data_ptr<int>(), wide.const_data_ptr<int>() + wide.numel()};
}

class GridFormats : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<const WeightFormat> format_ = make_weight_format(GetParam());
  GridFormatOptions options_ = *parse_grid_format(GetParam());
  at::Tensor values_ = at::randn({40, 576});

  at::Tensor rounded(const WeightScales* scales = nullptr) const {
    at::Tensor rounded = values_.clone();
    format_->fake_quantise(rounded, scales);
    return rounded;
  }
  /// (code - zero) * scale, element by element.
  at::Tensor decoded(const EncodedWeight& encoded) const {
    at::Tensor numbers = encoded.codes.to(at::kFloat);
    if (options_.kind == GridFormatOptions::Kind::kFp8) {
      numbers = encoded.codes.view(at::kFloat8_e4m3fn).to(at::kFloat);
    }
    const int64_t segments = encoded.scales.scale.numel();
    at::Tensor rows = numbers.view({segments, -1});
    if (encoded.scales.zero_point.defined()) {
      rows = rows - encoded.scales.zero_point.to(at::kFloat).unsqueeze(1);
    }
    return (rows * encoded.scales.scale.unsqueeze(1)).view(values_.sizes());
  }
};

TEST_P(GridFormats, RoundsIntoOtherMemoryToTheSameBits) {
  const at::Tensor before = values_.clone();
  at::Tensor other = at::zeros(values_.sizes());
  format_->round(values_, nullptr, other);
  EXPECT_TRUE(at::equal(other, rounded()));
  EXPECT_TRUE(at::equal(values_, before));
}

TEST_P(GridFormats, ForwardReadsWhatTheCodesDecodeTo) {
  EXPECT_EQ(format_->name(), GetParam());
  const EncodedWeight encoded = format_->encode(values_);
  EXPECT_TRUE(at::equal(rounded(), decoded(encoded)));
  EXPECT_FALSE(at::equal(rounded(), values_));
}

TEST_P(GridFormats, GivenScalesRoundAsTheirOwnDo) {
  const WeightScales scales = format_->scales_of(values_);
  EXPECT_TRUE(at::equal(rounded(&scales), rounded()));
  // Not by a power of two: a floating grid hardly knows the difference.
  const WeightScales wider{scales.scale * 1.5, scales.zero_point};
  EXPECT_FALSE(at::equal(rounded(&wider), rounded()));
  const WeightScales short_of{scales.scale.narrow(0, 0, 1).repeat({7}), {}};
  EXPECT_THROW(rounded(&short_of), Error);
}

TEST_P(GridFormats, DoesNotDependOnThreads) {
  const int threads = at::get_num_threads();
  const at::Tensor whole = rounded();
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(rounded(), whole));
  at::set_num_threads(threads);
}

TEST_P(GridFormats, ErrorsAreAtMostHalfAStepWithinTheGrid) {
  at::Tensor passes = at::zeros(values_.sizes()).fill_(1);
  format_->clip_gradient(values_, nullptr, passes);
  if (options_.kind != GridFormatOptions::Kind::kInteger) return;
  const at::Tensor scale = format_->scales_of(values_).scale;
  const at::Tensor error = ((rounded() - values_).abs() * passes).view({scale.numel(), -1});
  const at::Tensor float_error = values_.abs().view({scale.numel(), -1}) * 0x1p-22;
  EXPECT_TRUE((error <= scale.unsqueeze(1) * 0.5 + float_error).all().item<bool>());
}

TEST_P(GridFormats, AnInfinityIsRefused) {
  values_[39][575] = INFINITY;
  EXPECT_THROW(rounded(), Error);
  values_[39][575] = -NAN;
  EXPECT_THROW(rounded(), Error);
  const WeightScales scales{at::zeros({576 * 40 / segment_size(options_, {40, 576})}).fill_(1), {}};
  EXPECT_THROW(rounded(&scales), Error);
}

/// Gradients pass in full where nothing lies beyond a grid, also where a quotient is rounded up.
TEST_P(GridFormats, ClipsByItsRuleWhatLiesBeyondTheEnds) {
  at::Tensor passes = at::zeros(values_.sizes()).fill_(1);
  format_->clip_gradient(values_, nullptr, passes);
  EXPECT_EQ(passes.sum().item<double>() < passes.numel(), format_->clips_by_its_rule());
}

TEST_P(GridFormats, ZerosStayZeros) {
  values_.zero_();
  EXPECT_TRUE(at::equal(rounded(), values_));
}

INSTANTIATE_TEST_SUITE_P(Names, GridFormats,
                         testing::Values("int8:tensor", "int8:channel", "int8:channel:asymmetric",
                                         "int16:channel", "int16:tensor:asymmetric", "int4:group32",
                                         "int4:group64:asymmetric", "int2:group32",
                                         "ternary:tensor", "ternary:group32", "fp8:channel",
                                         "fp8:tensor"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::ranges::replace(name, ':', '_');
                           return name;
                         });

TEST(GridFormat, Int8CodesAreThoseOfJacobEtAl) {
  const auto format = make_weight_format("int8:channel");
  const at::Tensor x = at::tensor({-127.0F, 0.5F, 1.5F, 2.5F, -0.5F, 126.4F}).view({1, 6});
  EXPECT_THAT(codes_of(format->encode(x)), ElementsAre(-127, 0, 2, 2, 0, 126)) << "ties to even";
}

TEST(GridFormat, AnAsymmetricGridHoldsZeroExactly) {
  const auto format = make_weight_format("int8:tensor:asymmetric");
  at::Tensor x = at::tensor({0.0F, 0.3F, 2.0F, 2.55F}).view({2, 2});
  const EncodedWeight encoded = format->encode(x);
  EXPECT_EQ(encoded.scales.zero_point.item<int>(), -128) << "the range is made to include 0";
  EXPECT_THAT(codes_of(encoded), ElementsAre(-128, -98, 72, 127));
  format->fake_quantise(x);
  EXPECT_EQ(x[0][0].item<float>(), 0);
}

TEST(GridFormat, Int4UsesAllOfItsCodes) {
  const auto format = make_weight_format("int4:group4");
  const at::Tensor x = at::tensor({-7.5F, 7.5F, 1.0F, -6.6F}).view({1, 4});
  EXPECT_THAT(codes_of(format->encode(x)), ElementsAre(-8, 7, 1, -7));
}

TEST(GridFormat, TernaryScalesByTheMeanMagnitude) {
  const auto format = make_weight_format("ternary:tensor");
  const at::Tensor x = at::tensor({2.0F, -0.4F, 0.1F, -1.5F}).view({2, 2});
  const EncodedWeight encoded = format->encode(x);
  EXPECT_FLOAT_EQ(encoded.scales.scale.item<float>(), 1.0F);
  EXPECT_THAT(codes_of(encoded), ElementsAre(1, 0, 0, -1));
}

TEST(GridFormat, Fp8RoundsAsLibTorchDoes) {
  const auto format = make_weight_format("fp8:tensor");
  at::Tensor x = at::randn({64, 100}) * at::randn({64, 1}).exp();
  x[0][0] = 448.0F;  // the scale is 1
  x.clamp_(-448, 448);
  x[1][0] = 0x1p-9F;
  x[1][1] = 0x1.8p-9F;
  x[1][2] = 0x1p-10F;
  x[1][3] = 17.0F;  // between 16 and 18
  const at::Tensor expected = x.to(at::kFloat8_e4m3fn);
  EXPECT_TRUE(at::equal(format->encode(x).codes, expected.view(at::kChar)));
  format->fake_quantise(x);
  EXPECT_TRUE(at::equal(x, expected.to(at::kFloat)));
}

TEST(GridFormat, ClipsBeyondGivenScales) {
  const auto format = make_weight_format("int8:tensor");
  const at::Tensor x = at::tensor({127.4F, 127.6F, -127.6F, 3.0F}).view({2, 2});
  const WeightScales scales{at::tensor({1.0F}), {}};
  at::Tensor gradient = at::zeros({2, 2}).fill_(1);
  format->clip_gradient(x, &scales, gradient);
  EXPECT_TRUE(at::equal(gradient, at::tensor({1.0F, 0.0F, 0.0F, 1.0F}).view({2, 2})));
}

TEST(GridFormat, SaysWhichValuesItCantRound) {
  at::Tensor filters = at::ones({2, 2, 2, 2});
  const auto format = make_weight_format("int8:channel:asymmetric");
  EXPECT_EQ(values_refusal(*format, filters), "");
  filters[1][1][0][1] = 3e38F;
  filters[1][0][0][0] = -3e38F;
  EXPECT_THAT(
      values_refusal(*format, filters),
      HasSubstr("row 1, elements 0 to 7: the largest magnitude is 3e+38, of element 0, which "
                "makes a scale or a minimum beyond the largest of float32"));
  filters[1][1][0][1] = -INFINITY;
  EXPECT_EQ(values_refusal(*make_weight_format("fp8:tensor"), filters),
            "row 1, element 5 is -inf, expected a finite weight");
}

TEST(GridFormat, BytesCountCodesAndScales) {
  EXPECT_EQ(make_weight_format("int4:group32")->bytes_of({8, 64}), 256 + 16 * 4);
  EXPECT_EQ(make_weight_format("int8:channel:asymmetric")->bytes_of({8, 64}), 512 + 8 * 4 + 8);
  EXPECT_EQ(make_weight_format("ternary:tensor")->bytes_of({8, 64}), 128 + 4);
}

TEST(GridFormat, RefusesNamesAndShapesThatItLacks) {
  for (const char* name : {"int8", "int3:channel", "int8:group0", "fp8:channel:asymmetric",
                           "int8:row", "ternary:tensor:asymmetric"}) {
    EXPECT_THROW(make_weight_format(name), Error) << name;
  }
  EXPECT_THAT(make_weight_format("int4:group32")->refusal({8, 40}), HasSubstr("groups of 32"));
  EXPECT_EQ(make_weight_format("int8:channel")->refusal({8, 3, 3, 3}), "");
  EXPECT_THAT(make_weight_format("int8:channel")->refusal({8}), HasSubstr("matrices and filters"));
}

}  // namespace
}  // namespace wattle
