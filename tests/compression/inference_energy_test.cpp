#include "compression/report/inference_energy.h"

#include <gmock/gmock.h>

namespace wattle {
namespace {

/// Pairs of float and compressed joules.
std::vector<JoulesPair> pairs(const std::vector<double>& in_float,
                              const std::vector<double>& compressed) {
  std::vector<JoulesPair> all;
  for (size_t i = 0; i < in_float.size(); ++i) all.push_back({in_float[i], compressed[i]});
  return all;
}

const std::vector<double> kFloat = {10, 11, 12, 13, 14, 15, 16};

TEST(EnergyVerdict, NeedsEveryPairToSayTheSame) {
  EXPECT_EQ(verdict_of(pairs(kFloat, {11, 12, 13, 14, 15, 16, 17})), EnergyVerdict::kMore)
      << "what drifts doesn't hide it";
  EXPECT_EQ(verdict_of(pairs(kFloat, {9, 10, 11, 12, 13, 14, 15})), EnergyVerdict::kLess);
  EXPECT_EQ(verdict_of(pairs(kFloat, {11, 12, 13, 12.9, 15, 16, 17})),
            EnergyVerdict::kNoDifference);
  EXPECT_EQ(verdict_of(pairs(kFloat, kFloat)), EnergyVerdict::kNoDifference);
}

TEST(EnergyVerdict, SaysNothingOfFewPairs) {
  EXPECT_EQ(verdict_of({}), EnergyVerdict::kUnknown);
  EXPECT_EQ(verdict_of(pairs({1, 1, 1, 1, 1}, {2, 2, 2, 2, 2})), EnergyVerdict::kUnknown);
  EXPECT_EQ(verdict_of(pairs({1, 1, 1, 1, 1, 1}, {2, 2, 2, 2, 2, 2})), EnergyVerdict::kMore);
}

TEST(Spread, IsTheMiddleAndTheEnds) {
  const Spread odd = spread_of({3, 1, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.least, 1);
  EXPECT_EQ(odd.most, 3);
  EXPECT_EQ(spread_of({4, 1, 2, 3}).median, 2.5);
}

}  // namespace
}  // namespace wattle
