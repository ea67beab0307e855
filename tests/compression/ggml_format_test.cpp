#include "compression/formats/ggml_format.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <span>

#include "common/error.h"
#include "compression/formats/values_refusal.h"
#include "formats/gguf/ggml_blocks.h"

namespace wattle {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;

class GgmlFormats : public testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<const WeightFormat> format_ = make_weight_format(GetParam());
  at::Tensor values_ = at::randn({70, 768});

  at::Tensor rounded() const {
    at::Tensor rounded = values_.clone();
    format_->fake_quantise(rounded);
    return rounded;
  }
};

TEST_P(GgmlFormats, ForwardReadsWhatTheFileDecodesTo) {
  const EncodedWeight encoded = format_->encode(values_);
  ASSERT_EQ(static_cast<int64_t>(encoded.blocks.size()), format_->bytes_of(values_.sizes()));
  at::Tensor decoded = at::zeros(values_.sizes());
  decode(*format_->block_type(), encoded.blocks,
         {decoded.mutable_data_ptr<float>(), static_cast<size_t>(decoded.numel())});
  EXPECT_TRUE(at::equal(rounded(), decoded));
  EXPECT_FALSE(at::equal(rounded(), values_));
}

TEST_P(GgmlFormats, DoesNotDependOnThreadsOrOnWhereRowsAreSplit) {
  const at::Tensor whole = rounded();
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(rounded(), whole));
  at::set_num_threads(threads);
  for (const int64_t rows : {1, 33, 69}) {
    at::Tensor upper = values_.narrow(0, 0, rows).clone();
    format_->fake_quantise(upper);
    EXPECT_TRUE(at::equal(upper, whole.narrow(0, 0, rows)));
  }
}

/// Those whose scales follow from the values in closed form.
class ClosedFormats : public GgmlFormats {};

TEST_P(ClosedFormats, RoundingAgainChangesNothing) {
  at::Tensor twice = rounded();
  format_->fake_quantise(twice);
  EXPECT_TRUE(at::equal(twice, rounded()));
}

TEST_P(GgmlFormats, RoundsIntoOtherMemoryToTheSameBits) {
  const at::Tensor before = values_.clone();
  at::Tensor other = at::zeros(values_.sizes());
  format_->round(values_, nullptr, other);
  EXPECT_TRUE(at::equal(other, rounded()));
  EXPECT_TRUE(at::equal(values_, before));
}

TEST_P(GgmlFormats, SaysItsNameAndWhatItRefuses) {
  EXPECT_EQ(format_->name(), GetParam());
  EXPECT_EQ(format_->refusal({70, 768}), "");
  EXPECT_THAT(format_->refusal({70, 100}), HasSubstr("100 values is no whole number"));
  EXPECT_THAT(format_->refusal({70, 32, 3, 3}), HasSubstr("matrices only"));
}

TEST_P(GgmlFormats, NamesTheElementThatHasNoEncoding) {
  values_[69][767] = INFINITY;
  try {
    rounded();
    FAIL() << "an infinity was rounded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNonFinite);
    EXPECT_THAT(error.what(), HasSubstr("from element 53248 on"));
  }
}

TEST_P(GgmlFormats, SaysWhichValuesItCantRound) {
  EXPECT_EQ(values_refusal(*format_, values_), "");
  values_[3][700] = -6e8F;
  EXPECT_THAT(values_refusal(*format_, values_),
              AllOf(MatchesRegex("row 3, elements (512|672) to (703|767): .*"),
                    HasSubstr("the largest magnitude is 6e+08, of element 700, which makes a scale "
                              "or a minimum beyond 65504, the largest of f16")));
  values_[2][5] = NAN;
  EXPECT_EQ(values_refusal(*format_, values_), "row 2, element 5 is nan, expected a finite weight");
}

TEST_P(GgmlFormats, FiguresFollowFromTheRounding) {
  const QuantizationFigures figures = figures_of(*format_, values_);
  EXPECT_EQ(figures.bytes, format_->bytes_of(values_.sizes()));
  const double noise = (values_ - rounded()).square().sum(at::kDouble).item<double>();
  const double signal = values_.square().sum(at::kDouble).item<double>();
  EXPECT_NEAR(figures.signal_to_noise_db, 10 * std::log10(signal / noise), 1e-6);
  EXPECT_GT(figures.mean_scale, 0);
}

INSTANTIATE_TEST_SUITE_P(Types, ClosedFormats,
                         testing::Values("gguf:q4_0", "gguf:q4_1", "gguf:q8_0", "gguf:tq2_0"),
                         [](const auto& info) { return std::string(info.param).substr(5); });
INSTANTIATE_TEST_SUITE_P(Types, GgmlFormats,
                         testing::Values("gguf:q4_0", "gguf:q4_1", "gguf:q8_0", "gguf:q6_k",
                                         "gguf:tq2_0"),
                         [](const auto& info) { return std::string(info.param).substr(5); });

TEST(GgmlFormat, ClipsWhatLiesBeyondTheShortEndOfQ40) {
  const auto format = make_weight_format("gguf:q4_0");
  at::Tensor values = at::zeros({2, 32});
  values[0][3] = -8.0F;  // d = 1: codes reach from -8 to 7
  values[0][4] = 7.6F;
  values[0][5] = 7.4F;
  values[1][0] = 8.0F;
  values[1][1] = -7.6F;
  at::Tensor gradient = at::zeros({2, 32}).fill_(1);
  format->clip_gradient(values, nullptr, gradient);
  EXPECT_EQ(gradient[0][4].item<float>(), 0);
  EXPECT_EQ(gradient[1][1].item<float>(), 0);
  EXPECT_EQ(gradient.sum().item<float>(), 62);
  EXPECT_NEAR(figures_of(*format, values).clipped_share, 2.0 / 64, 1e-12);
}

TEST(GgmlFormat, ClipsWhereA6BitScaleIsRoundedDown) {
  const auto format = make_weight_format("gguf:q6_k");
  at::Tensor values = at::zeros({1, 256});
  values[0][0] = -32.0F;  // the block's largest scale, 1 = -128 * (-1 / 128)
  values[0][1] = 31.0F;
  const float small = 1.4F / 128;  // rounded to 1 / 128: codes reach from -32 / 1.4 to 31 / 1.4
  values[0][16] = -32 * small;
  values[0][17] = 31 * small;
  values[0][18] = 20 * small;
  const WeightScales scales = format->scales_of(values);
  ASSERT_EQ(scales.scale.numel(), 16);
  EXPECT_EQ(scales.scale[0].item<float>(), 1.0F);
  EXPECT_EQ(scales.scale[1].item<float>(), 1.0F / 128);
  at::Tensor gradient = at::zeros({1, 256}).fill_(1);
  format->clip_gradient(values, nullptr, gradient);
  EXPECT_EQ(gradient[0][16].item<float>(), 0);
  EXPECT_EQ(gradient[0][17].item<float>(), 0);
  EXPECT_EQ(gradient.sum().item<float>(), 254);
}

TEST(GgmlFormat, AnUnknownNameIsRefused) { EXPECT_THROW(make_weight_format("gguf:q4_k"), Error); }

}  // namespace
}  // namespace wattle
