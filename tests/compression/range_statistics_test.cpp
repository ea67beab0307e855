#include "compression/calibration/range_statistics.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <random>

#include "common/error.h"
#include "compression/calibration/range_observer.h"
#include "parallel/communicators/threads/thread_communicator.h"

namespace wattle {
namespace {

using testing::HasSubstr;

/// Values of many magnitudes, some of them exact powers of two, zeros of both signs and denormals.
at::Tensor mixed_values(uint64_t seed, int64_t rows) {
  at::Tensor values = at::empty({rows, 7});
  values.normal_(0.0, 1.0, at::make_generator<at::CPUGeneratorImpl>(seed));
  values.select(1, 1).mul_(100);
  values.select(1, 2).mul_(1e-6f);
  values.select(1, 3).sign_();
  values.select(1, 4).mul_(1e-41f);
  values.select(1, 5).fill_(seed % 2 ? -0.0f : 0.0f);
  return values;
}

RangeStatistics statistics_of(const at::Tensor& values) {
  RangeStatistics statistics(/*with_histogram=*/true);
  statistics.add(values, "x");
  return statistics;
}

TEST(ValueHistogram, GrowsToTheCountsThatWiderBinsWouldHaveHad) {
  std::mt19937 draw(3);
  for (int round = 0; round < 50; ++round) {
    const at::Tensor values = mixed_values(round, 100);
    const int64_t count = values.numel();
    const int fits = ValueHistogram::exponent_for(values.abs().max().item<float>());
    const int wide = fits + static_cast<int>(draw() % 80);
    ValueHistogram grown, direct;
    grown.widen(fits);
    grown.count(values.data_ptr<float>(), count);
    grown.widen(wide);
    direct.widen(wide);
    direct.count(values.data_ptr<float>(), count);
    EXPECT_EQ(grown, direct);
    EXPECT_EQ(grown.total(), count);
  }
}

TEST(ValueHistogram, HoldsTheLargestMagnitudeAndWastesLessThanHalf) {
  for (const float most : {1.0f, 0.75f, 3e38f, 1e-30f, std::nextafter(2.0f, 0.0f), 1e-45f}) {
    ValueHistogram histogram;
    histogram.widen(ValueHistogram::exponent_for(most));
    histogram.count(&most, 1);
    const auto [first, last] = histogram.occupied();
    EXPECT_EQ(last, first + 1) << most;
    if (most > 1e-29f) {
      EXPECT_GE(first - ValueHistogram::kBinsPerSide, ValueHistogram::kBinsPerSide / 2) << most;
    }
    EXPECT_LE(histogram.edge(first), most);
    EXPECT_GT(histogram.edge(last), most);
  }
}

TEST(RangeStatistics, AreTheSameHoweverTheValuesAreSplit) {
  std::mt19937 draw(11);
  for (int round = 0; round < 40; ++round) {
    const int64_t rows = 40 + static_cast<int64_t>(draw() % 400);
    const at::Tensor values = mixed_values(round, rows);
    const RangeStatistics whole = statistics_of(values);
    RangeStatistics one_by_one(true), merged(true);
    for (int64_t begin = 0; begin < rows;) {
      const int64_t count = std::min<int64_t>(rows - begin, draw() % 90);  // 0 now and then
      const at::Tensor part = values.narrow(0, begin, count);
      one_by_one.add(part, "x");
      const RangeStatistics other = statistics_of(part);
      if (draw() % 2) {
        merged.merge(other);
      } else {
        RangeStatistics swapped = other;
        swapped.merge(merged);
        merged = swapped;
      }
      begin += count;
    }
    EXPECT_EQ(one_by_one, whole);
    EXPECT_EQ(merged, whole);
  }
}

TEST(RangeStatistics, AreTheSameOnEveryNumberOfRanks) {
  const at::Tensor values = mixed_values(5, 120), others = mixed_values(6, 240).mul(1e4);
  const RangeStatistics whole = statistics_of(values), other_whole = statistics_of(others);
  for (const int ranks : {1, 2, 3, 4}) {
    run_as_threads(ranks, [&](Communicator& c) {
      const auto share = [&](const at::Tensor& all) {
        return statistics_of(all.tensor_split(c.size())[c.rank()]);
      };
      RangeStatistics mine = share(values), other = share(others), nothing(true), plain(false);
      plain.add(values.tensor_split(c.size())[c.rank()], "x");
      RangeStatistics* const all[] = {&mine, &nothing, &other, &plain};
      all_reduce(all, c);
      EXPECT_EQ(mine, whole);
      EXPECT_EQ(other, other_whole);
      EXPECT_TRUE(nothing.empty());
      EXPECT_EQ(plain.low(), whole.low());
      EXPECT_EQ(plain.high(), whole.high());
    });
  }
}

TEST(RangeStatistics, ARankWithoutValuesAddsNothing) {
  const at::Tensor values = at::full({3, 2}, 5.0);
  run_as_threads(2, [&](Communicator& c) {
    RangeStatistics mine(true);
    if (c.rank() == 1) mine.add(values, "x");
    RangeStatistics* const all[] = {&mine};
    all_reduce(all, c);
    EXPECT_EQ(mine, statistics_of(values));
    EXPECT_EQ(mine.low(), 5);
  });
}

TEST(RangeStatistics, RefuseWhatIsNotFiniteAndNameIt) {
  for (const float wrong :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    at::Tensor values = at::zeros({4, 3});
    values[2][1] = wrong;
    RangeStatistics statistics(true);
    try {
      statistics.add(values, "blocks.1.attention.qkv");
      FAIL() << "took in " << wrong;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kNonFinite);
      EXPECT_THAT(e.what(), HasSubstr("blocks.1.attention.qkv"));
      EXPECT_THAT(e.what(), HasSubstr("value 1 of row 2"));
    }
    EXPECT_TRUE(statistics.empty());
  }
}

TEST(RangeStatistics, SurviveASaveToTheLastBit) {
  const RangeStatistics whole = statistics_of(mixed_values(9, 300));
  RangeStatistics loaded(true);
  loaded.load(whole.save());
  EXPECT_EQ(loaded, whole);
}

}  // namespace
}  // namespace wattle
