#include "compression/widths/choose_widths.h"

#include <gmock/gmock.h>

#include <chrono>
#include <limits>
#include <random>

#include "common/error.h"

namespace wattle {
namespace {

using Weights = std::vector<std::vector<WidthChoice>>;

struct Sum {
  int64_t bytes = 0;
  double loss = 0;
};

Sum sum_of(const Weights& weights, const std::vector<size_t>& chosen) {
  Sum sum;
  for (size_t i = 0; i < weights.size(); ++i) {
    sum.bytes += weights[i][chosen[i]].bytes;
    sum.loss += weights[i][chosen[i]].loss_increase;
  }
  return sum;
}

/// The least loss of all combinations within the budget; infinity if none is.
double least_of_all(const Weights& weights, int64_t budget, size_t i = 0, Sum so_far = {}) {
  if (so_far.bytes > budget) return std::numeric_limits<double>::infinity();
  if (i == weights.size()) return so_far.loss;
  double least = std::numeric_limits<double>::infinity();
  for (const WidthChoice& c : weights[i]) {
    least = std::min(least, least_of_all(weights, budget, i + 1,
                                         {so_far.bytes + c.bytes, so_far.loss + c.loss_increase}));
  }
  return least;
}

/// Of some 100 bytes each, or of some 100 million.
Weights random_weights(std::mt19937& draw, size_t count, bool large) {
  std::uniform_real_distribution<double> uniform(0, 1);
  Weights weights(count);
  for (auto& choices : weights) {
    const size_t widths = 1 + draw() % 4;
    const double size = (large ? 1e6 : 1) * (1 + 100 * uniform(draw)), sensitivity = uniform(draw);
    for (size_t k = 0; k < widths; ++k) {
      const double bytes = size * static_cast<double>(k + 2) * (0.9 + 0.2 * uniform(draw));
      choices.push_back({static_cast<int64_t>(bytes),
                         sensitivity / static_cast<double>(k + 1) + 0.05 * uniform(draw) - 0.02});
    }
  }
  return weights;
}

TEST(ChooseWidths, FindsWhatATryOfAllCombinationsFinds) {
  std::mt19937 draw(5);
  int feasible = 0;
  for (int round = 0; round < 400; ++round) {
    const Weights weights = random_weights(draw, 1 + draw() % 7, round % 2);
    int64_t most = 0;
    for (const auto& choices : weights) most += choices.back().bytes;
    const int64_t budget = most * static_cast<int64_t>(draw() % 110) / 100;
    const double least = least_of_all(weights, budget);
    if (least == std::numeric_limits<double>::infinity()) {
      EXPECT_THROW(choose_widths(weights, budget), Error);
      continue;
    }
    ++feasible;
    const Sum sum = sum_of(weights, choose_widths(weights, budget));
    EXPECT_LE(sum.bytes, budget);
    EXPECT_NEAR(sum.loss, least, 1e-12) << "round " << round;
  }
  EXPECT_GT(feasible, 150);
}

TEST(ChooseWidths, GivesTheBitsToTheWeightThatNeedsThem) {
  const Weights weights = {{{10, 5}, {20, 0}}, {{10, 1}, {20, 0}}};
  EXPECT_THAT(choose_widths(weights, 30), testing::ElementsAre(1, 0));
  EXPECT_THAT(choose_widths(weights, 29), testing::ElementsAre(0, 0));
  EXPECT_THAT(choose_widths(weights, 40), testing::ElementsAre(1, 1));
  EXPECT_THROW(choose_widths(weights, 19), Error);
}

TEST(ChooseWidths, WhatLeavesNoFiniteLossIsNeverTaken) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  const std::vector<std::vector<WidthChoice>> weights = {{{10, kInfinite}, {20, 0.1}},
                                                         {{10, 0.5}, {20, kInfinite}}};
  EXPECT_THAT(choose_widths(weights, 100), testing::ElementsAre(1, 0));
  EXPECT_THAT(choose_widths(weights, 30), testing::ElementsAre(1, 0));
  EXPECT_THROW(choose_widths(weights, 29), Error);
  EXPECT_THROW(choose_widths({{{10, std::nan("")}}}, 100), Error);
}

TEST(ChooseWidths, ManyLargeLayersTakeNoTime) {
  std::mt19937 draw(9);
  const Weights weights = random_weights(draw, 300, true);
  int64_t most = 0;
  for (const auto& choices : weights) most += choices.back().bytes;
  for (const int64_t percent : {60, 75, 90}) {
    const int64_t budget = most / 100 * percent;
    const auto begin = std::chrono::steady_clock::now();
    const Sum sum = sum_of(weights, choose_widths(weights, budget));
    EXPECT_LE(sum.bytes, budget);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  }
}

}  // namespace
}  // namespace wattle
