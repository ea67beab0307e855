#include "compression/calibration/range_observer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "common/error.h"
#include "compression/calibration/clipping_search.h"

namespace wattle {
namespace {

at::Tensor normal_values(uint64_t seed, int64_t count, double deviation = 1) {
  at::Tensor values = at::empty({count});
  return values.normal_(0.0, deviation, at::make_generator<at::CPUGeneratorImpl>(seed));
}

RangeStatistics statistics_of(const at::Tensor& values) {
  RangeStatistics statistics(true);
  statistics.add(values, "x");
  return statistics;
}

/// What rounding to the grid really costs, value by value.
double error_of(const at::Tensor& values, const AffineScale& scale, const AffineGrid& grid) {
  const at::Tensor x = values.to(at::kDouble);
  const at::Tensor integers =
      at::clamp((x / scale.scale).round() + scale.zero_point, grid.lowest(), grid.highest());
  return (x - (integers - scale.zero_point) * scale.scale).square().mean().item<double>();
}

ClipRange observed(ObserverKind kind, const AffineGrid& grid, const at::Tensor& values) {
  RangeObserver observer({.kind = kind}, grid);
  observer.update(statistics_of(values));
  return observer.range();
}

constexpr ObserverKind kAllKinds[] = {ObserverKind::kMinMax, ObserverKind::kMovingAverage,
                                      ObserverKind::kPercentile, ObserverKind::kHistogram,
                                      ObserverKind::kLeastSquares};

TEST(AffineGrid, CoversTheRangeWithZeroOnAnInteger) {
  std::mt19937 draw(1);
  std::uniform_real_distribution<float> size(0, 10);
  for (int round = 0; round < 500; ++round) {
    const ClipRange range{-size(draw) * (round % 3 > 0), size(draw) * (round % 5 > 0)};
    for (const int bits : {2, 4, 8, 16}) {
      for (const bool symmetric : {true, false}) {
        const AffineGrid grid{bits, symmetric};
        const AffineScale scale = scale_of(range, grid);
        const ClipRange covered = covered_by(scale, grid);
        ASSERT_GT(scale.scale, 0);
        ASSERT_GE(scale.zero_point, grid.lowest());
        ASSERT_LE(scale.zero_point, grid.highest());
        const float slack = scale.scale * 0.5001f;  // half a step, by which the zero is nudged
        ASSERT_LE(covered.low, range.low + slack);
        ASSERT_GE(covered.high, range.high - slack);
        ASSERT_TRUE(!symmetric || scale.zero_point == 0);
      }
    }
  }
  EXPECT_EQ((AffineGrid{8, true}.lowest()), -127);
  EXPECT_EQ((AffineGrid{8, false}.lowest()), -128);
  EXPECT_EQ(scale_of({0, 0}, {8, false}).scale, 1);
  EXPECT_EQ(scale_of({0, 2.55f}, {8, false}).zero_point, -128);
}

TEST(RangeObserver, GivesTheSameRangeHoweverABatchIsSplit) {
  std::mt19937 draw(7);
  for (const ObserverKind kind : kAllKinds) {
    for (const bool symmetric : {true, false}) {
      const AffineGrid grid{symmetric ? 4 : 8, symmetric};
      RangeObserver whole({.kind = kind}, grid), split({.kind = kind}, grid);
      for (int step = 0; step < 5; ++step) {
        const at::Tensor values = normal_values(step, 3000, std::exp(step)) + 0.5;
        RangeStatistics once = whole.batch(), parts = split.batch();
        once.add(values, "x");
        for (int64_t begin = 0; begin < values.numel();) {
          const int64_t count = std::min<int64_t>(values.numel() - begin, 1 + draw() % 1500);
          RangeStatistics part = split.batch();
          part.add(values.narrow(0, begin, count), "x");
          parts.merge(part);
          begin += count;
        }
        whole.update(once);
        split.update(parts);
        ASSERT_EQ(whole.range(), split.range()) << name_of(kind) << " step " << step;
      }
    }
  }
}

TEST(RangeObserver, MovesWithTheRangesOfTheGlobalBatches) {
  RangeObserver observer({.kind = ObserverKind::kMovingAverage, .momentum = 0.25}, {});
  observer.update(statistics_of(at::tensor({-4.0f, 8.0f})));
  EXPECT_EQ(observer.range(), (ClipRange{-4, 8}));
  observer.update(statistics_of(at::tensor({-8.0f, 4.0f})));
  EXPECT_EQ(observer.range(), (ClipRange{-5, 7}));
  observer.update(observer.batch());  // nothing was seen
  EXPECT_EQ(observer.range(), (ClipRange{-5, 7}));
}

TEST(RangeObserver, LeavesOutTheRarestValues) {
  const at::Tensor values = normal_values(1, 200000);
  values[17] = 1000;
  RangeObserver observer({.kind = ObserverKind::kPercentile, .percentile = 99.0}, {8, true});
  observer.update(statistics_of(values));
  // Bins are half a unit wide here; the 99 % quantile of a normal's magnitude is 2.576.
  EXPECT_NEAR(observer.range().high, 2.576, 0.3);
  const at::Tensor plain = normal_values(1, 200000);
  EXPECT_NEAR(percentile_range(statistics_of(plain), {8, true}, 0.99).high, 2.576, 0.02);
  const ClipRange sides = percentile_range(statistics_of(plain), {8, false}, 0.99);
  EXPECT_NEAR(sides.low, -2.326, 0.02);
  EXPECT_NEAR(sides.high, 2.326, 0.02);
}

TEST(LeastSquares, HistogramErrorIsThatOfTheValues) {
  const at::Tensor values = normal_values(2, 100000);
  const RangeStatistics seen = statistics_of(values);
  for (const int bits : {2, 4, 8}) {
    for (const ClipRange range : {ClipRange{-4, 4}, {-1, 1}, {-2, 0.5}, {0, 3}}) {
      const AffineGrid grid{bits, false};
      const AffineScale scale = scale_of(range, grid);
      const double exact = error_of(values, scale, grid);
      EXPECT_NEAR(mean_squared_error(seen, scale, grid), exact, 0.01 * exact) << bits;
    }
  }
}

TEST(LeastSquares, FindsTheRangeThatATryOfAllFinds) {
  for (const int bits : {2, 3, 4, 8}) {
    const at::Tensor values = normal_values(bits, 20000);
    const AffineGrid grid{bits, true};
    const ClipRange found = observed(ObserverKind::kLeastSquares, grid, values);
    double least = 1e9;
    for (int n = 1; n <= 1000; ++n) {
      const float end = values.abs().max().item<float>() * n / 1000;
      least = std::min(least, error_of(values, scale_of({-end, end}, grid), grid));
    }
    EXPECT_LT(error_of(values, scale_of(found, grid), grid), 1.01 * least) << bits;
  }
}

TEST(LeastSquares, MovesEachEndOfAnAsymmetricRange) {
  // A bulk above zero and one outlier below: only the low end is worth clipping.
  const at::Tensor values = normal_values(4, 50000).abs();
  values[5] = -40;
  const AffineGrid grid{4, false};
  const ClipRange found = observed(ObserverKind::kLeastSquares, grid, values);
  EXPECT_GT(found.low, -8);
  EXPECT_GT(found.high, 2);
  const ClipRange all{-40, values.max().item<float>()};
  EXPECT_LT(error_of(values, scale_of(found, grid), grid),
            0.5 * error_of(values, scale_of(all, grid), grid));
}

TEST(LeastInformationLoss, ClipsALongTailAndKeepsAFlatRange) {
  const at::Tensor spread = normal_values(3, 400000);
  const at::Tensor tailed = spread * spread * spread;  // up to about 100
  const AffineGrid grid{8, true};
  const ClipRange clipped = observed(ObserverKind::kHistogram, grid, tailed);
  EXPECT_LT(clipped.high, 0.7 * tailed.abs().max().item<float>());
  EXPECT_GT(clipped.high, 5);
  at::Tensor flat = at::empty({400000});
  flat.uniform_(-1, 1, at::make_generator<at::CPUGeneratorImpl>(1));
  EXPECT_GT(observed(ObserverKind::kHistogram, grid, flat).high, 0.98);
}

TEST(RangeObserver, GoesOnFromASavedStateToTheLastBit) {
  for (const ObserverKind kind : kAllKinds) {
    RangeObserver through({.kind = kind}, {8, false}), before({.kind = kind}, {8, false});
    for (int step = 0; step < 3; ++step) {
      through.update(statistics_of(normal_values(step, 500)));
      before.update(statistics_of(normal_values(step, 500)));
    }
    RangeObserver after({.kind = kind}, {8, false});
    after.load(before.save());
    through.update(statistics_of(normal_values(3, 500, 3)));
    after.update(statistics_of(normal_values(3, 500, 3)));
    EXPECT_EQ(after.range(), through.range()) << name_of(kind);
  }
  RangeObserver observer({.kind = ObserverKind::kMinMax}, {});
  EXPECT_THROW(observer.range(), Error);
  EXPECT_THROW(observer.load("[]"), Error);
  EXPECT_THROW(observer.load(RangeObserver({.kind = ObserverKind::kPercentile}, {}).save()), Error);
}

TEST(RangeObserver, ConstantsAndZerosHaveARange) {
  for (const ObserverKind kind : kAllKinds) {
    for (const bool symmetric : {true, false}) {
      for (const float constant : {0.0f, 3.0f, -2.0f, 1e-40f}) {
        const AffineGrid grid{8, symmetric};
        const ClipRange range = observed(kind, grid, at::empty({50}).fill_(constant));
        ASSERT_LE(range.low, std::min(0.0f, constant)) << name_of(kind) << " " << constant;
        ASSERT_GE(range.high, std::max(0.0f, constant) * 0.99f) << name_of(kind) << " " << constant;
        ASSERT_GT(scale_of(range, grid).scale, 0);
      }
    }
  }
}

}  // namespace
}  // namespace wattle
