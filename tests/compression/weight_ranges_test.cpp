#include "compression/ranges/weight_ranges.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include "common/error.h"
#include "compression/ranges/weight_range_options.h"
#include "tests/compression/compression_support.h"

namespace wattle {
namespace {

using support::normal;
using testing::HasSubstr;

constexpr const char* kFormats[] = {"int8:tensor",
                                    "int8:channel",
                                    "int4:group32",
                                    "int2:channel",
                                    "int4:channel:asymmetric",
                                    "int8:tensor:asymmetric"};

ObserverOptions observer(ObserverKind kind) { return {.kind = kind}; }

/// Mostly a normal distribution, with a few values far out.
at::Tensor with_outliers() {
  at::Tensor values = normal({16, 512}, 1);
  for (int64_t row = 0; row < 16; ++row) values[row][row * 7].fill_(row % 2 ? 9.0 : -9.0);
  return values;
}

double squared_error(const WeightFormat& format, const at::Tensor& values,
                     const WeightScales& scales) {
  at::Tensor rounded = values.clone();
  format.fake_quantise(rounded, &scales);
  return (values - rounded).square().sum(at::kDouble).item<double>();
}

TEST(WeightRanges, MinmaxIsTheFormatsOwnRule) {
  const at::Tensor values = with_outliers();
  for (const std::string name : kFormats) {
    const WeightScales own = make_weight_format(name)->scales_of(values);
    for (const ObserverKind kind : {ObserverKind::kMinMax, ObserverKind::kMovingAverage}) {
      const WeightScales found =
          observed_scales(*parse_grid_format(name), observer(kind), values, nullptr);
      EXPECT_TRUE(at::equal(found.scale, own.scale)) << name;
      ASSERT_EQ(found.zero_point.defined(), own.zero_point.defined()) << name;
      if (!own.zero_point.defined()) continue;
      EXPECT_TRUE(at::equal(found.zero_point, own.zero_point)) << name;
    }
  }
}

TEST(WeightRanges, LeastSquaresLeavesTheLeastErrorOfAll) {
  const at::Tensor values = with_outliers();
  for (const std::string name : kFormats) {
    const auto format = make_weight_format(name);
    const auto error = [&](ObserverKind kind) {
      return squared_error(
          *format, values,
          observed_scales(*parse_grid_format(name), observer(kind), values, nullptr));
    };
    const double least = error(ObserverKind::kLeastSquares);
    for (const ObserverKind other :
         {ObserverKind::kMinMax, ObserverKind::kPercentile, ObserverKind::kHistogram}) {
      EXPECT_LE(least, error(other) * 1.001) << name << " " << name_of(other);
    }
    if (name.starts_with("int4:channel")) {
      EXPECT_LT(least, 0.8 * error(ObserverKind::kMinMax)) << name;
    }
  }
}

TEST(WeightRanges, APercentileLeavesOutTheRarest) {
  const at::Tensor values = with_outliers();
  ObserverOptions all_but_one = observer(ObserverKind::kPercentile);
  all_but_one.percentile = 100.0 * 511 / 512;
  const WeightScales found =
      observed_scales(*parse_grid_format("int8:channel"), all_but_one, values, nullptr);
  for (int64_t row = 0; row < 16; ++row) {
    const at::Tensor magnitudes = std::get<0>(values[row].abs().sort());
    EXPECT_EQ(magnitudes[511].item<float>(), 9);
    EXPECT_EQ(found.scale[row].item<float>(), magnitudes[510].item<float>() / 127) << row;
  }
}

TEST(WeightRanges, AnInformationLossCutsOutliersOff) {
  const at::Tensor values = with_outliers();
  const auto found = observed_scales(*parse_grid_format("int8:tensor"),
                                     observer(ObserverKind::kHistogram), values, nullptr);
  EXPECT_LT(found.scale[0].item<float>(), 0.9 * 9 / 127);
  EXPECT_GT(found.scale[0].item<float>(), 2.0 / 127);
}

TEST(WeightRanges, AMovingAverageFollows) {
  ObserverOptions average = observer(ObserverKind::kMovingAverage);
  average.momentum = 0.25;
  for (const std::string name : kFormats) {
    const auto format = *parse_grid_format(name);
    const at::Tensor before = normal({16, 512}, 1), after = before * 2;
    WeightScales scales = observed_scales(format, average, before, nullptr);
    const at::Tensor first = scales.scale.clone();
    for (const double expected : {1.25, 1.4375}) {
      scales = observed_scales(format, average, after, &scales);
      EXPECT_LT((scales.scale / first - expected).abs().max().item<double>(), 0.03) << name;
    }
  }
}

TEST(WeightRanges, DoNotDependOnThreads) {
  const at::Tensor values = with_outliers();
  for (const ObserverKind kind :
       {ObserverKind::kPercentile, ObserverKind::kHistogram, ObserverKind::kLeastSquares}) {
    const auto format = *parse_grid_format("int4:group32:asymmetric");
    const WeightScales many = observed_scales(format, observer(kind), values, nullptr);
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    const WeightScales one = observed_scales(format, observer(kind), values, nullptr);
    at::set_num_threads(threads);
    EXPECT_TRUE(at::equal(many.scale, one.scale)) << name_of(kind);
    EXPECT_TRUE(at::equal(many.zero_point, one.zero_point)) << name_of(kind);
  }
}

TEST(WeightRanges, NameWhatIsNotFinite) {
  at::Tensor values = normal({4, 64}, 1);
  values[2][5] = NAN;
  try {
    observed_scales(*parse_grid_format("int8:channel"), observer(ObserverKind::kLeastSquares),
                    values, nullptr);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNonFinite);
    EXPECT_THAT(error.what(), HasSubstr("elements 128 to 191"));
  }
}

TEST(WeightRanges, ASegmentOfZerosHasTheScale1) {
  for (const ObserverKind kind : {ObserverKind::kMinMax, ObserverKind::kPercentile,
                                  ObserverKind::kHistogram, ObserverKind::kLeastSquares}) {
    const WeightScales found = observed_scales(*parse_grid_format("int8:channel"), observer(kind),
                                               at::zeros({2, 32}), nullptr);
    EXPECT_EQ(found.scale[1].item<float>(), 1) << name_of(kind);
  }
}

}  // namespace
}  // namespace wattle
