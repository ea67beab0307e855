#include "compression/quantize/learned_scales.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <cmath>

#include "compression/quantize/weight_quantizer.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {
namespace {

GridFormatOptions int4_groups(int64_t group) {
  return {.bits = 4, .sharing = ScaleSharing::kGroup, .group_size = group};
}

/// LSQ's equations 1 to 3, one value at a time, in double.
double paper_slope(double x, double scale, double low, double high) {
  const double v = x / scale;
  if (v <= low) return low;
  if (v >= high) return high;
  return std::nearbyint(v) - v;
}

TEST(LearnedScales, TheGradientIsThePapersFormula) {
  const GridFormatOptions format = int4_groups(24);
  const at::Tensor x = at::randn({6, 48}), upstream = at::randn({6, 48});
  const at::Tensor scale = initial_step_size(format, x) * 0.3;
  at::Tensor gradient = upstream.clone();
  const at::Tensor got = learn_scales_gradient(format, ScaleLearning::kStep, x, scale, gradient);
  int clipped = 0;
  for (int64_t segment = 0; segment < 12; ++segment) {
    double expected = 0;
    for (int64_t i = segment * 24; i < (segment + 1) * 24; ++i) {
      const double value = x.view(-1)[i].item<double>(), s = scale[segment].item<double>();
      const double up = upstream.view(-1)[i].item<double>();
      expected += up * paper_slope(value, s, -8, 7);
      const bool outside = value / s <= -8 || value / s >= 7;
      clipped += outside;
      EXPECT_EQ(gradient.view(-1)[i].item<double>(), outside ? 0 : up);
    }
    EXPECT_NEAR(got[segment].item<double>(), expected / std::sqrt(24 * 7.0), 1e-5);
  }
  EXPECT_GT(clipped, 5) << "the test must see both ends";
}

/// Between two rounding thresholds the rounded values are a smooth function of the scale: value =
/// code * scale with constant codes. There the slope of a clipped value is its code, and that of an
/// inner one differs from the paper's by -v, the part that straight-through rounding passes on.
TEST(LearnedScales, ClippedValuesMatchFiniteDifferences) {
  const GridFormatOptions format = int4_groups(8);
  const auto rounding = make_grid_format(format);
  const at::Tensor x =
      at::tensor({9.3F, -11.0F, 8.2F, -9.9F, 12.0F, 30.0F, -8.7F, 7.9F}).view({1, 8});
  const at::Tensor scale = at::tensor({1.0F}), upstream = at::randn({1, 8});
  const auto loss = [&](float s) {
    const WeightScales scales{at::tensor({s}), {}};
    at::Tensor rounded = x.clone();
    rounding->fake_quantise(rounded, &scales);
    return (rounded * upstream).sum(at::kDouble).item<double>();
  };
  const double difference = (loss(1.01F) - loss(0.99F)) / 0.02;
  for (const ScaleLearning learning : {ScaleLearning::kStep, ScaleLearning::kClipping}) {
    at::Tensor gradient = upstream.clone();
    const at::Tensor got = learn_scales_gradient(format, learning, x, scale, gradient);
    EXPECT_NEAR(got.item<double>() * std::sqrt(8 * 7.0), difference, 1e-3);
    EXPECT_EQ(gradient.abs().sum().item<float>(), 0);
  }
}

TEST(LearnedScales, ClippingLeavesInnerValuesOut) {
  const GridFormatOptions format = int4_groups(4);
  const at::Tensor x = at::tensor({0.3F, -2.4F, 6.6F, 1.2F}).view({1, 4});
  at::Tensor gradient = at::zeros({1, 4}).fill_(1);
  EXPECT_EQ(learn_scales_gradient(format, ScaleLearning::kClipping, x, at::tensor({1.0F}), gradient)
                .item<float>(),
            0);
  EXPECT_NE(learn_scales_gradient(format, ScaleLearning::kStep, x, at::tensor({1.0F}), gradient)
                .item<float>(),
            0);
}

TEST(LearnedScales, StartsWhereThePaperStarts) {
  const at::Tensor x = at::tensor({1.0F, -3.0F, 2.0F, -2.0F}).view({1, 4});
  EXPECT_NEAR(initial_step_size(int4_groups(4), x).item<double>(), 2 * 2.0 / std::sqrt(7.0), 1e-6);
}

TEST(LearnedScales, TheOptimizerFindsTheStepWithTheLeastError) {
  const GridFormatOptions format = int4_groups(512);
  const auto rounding = make_grid_format(format);
  const at::Tensor x = at::randn({1, 512});
  const auto error = [&](const at::Tensor& scale) {
    const WeightScales scales{scale, {}};
    at::Tensor rounded = x.clone();
    rounding->fake_quantise(rounded, &scales);
    return rounded - x;
  };
  at::Tensor scale = at::tensor({1.5F});
  const double before = error(scale).square().mean().item<double>();
  ScaleOptimizer optimizer(1);
  for (int i = 0; i < 400; ++i) {
    at::Tensor gradient = error(scale) * (2.0 / 512);
    optimizer.update(learn_scales_gradient(format, ScaleLearning::kStep, x, scale, gradient), 0.01,
                     scale);
  }
  EXPECT_LT(error(scale).square().mean().item<double>(), before / 5);
  EXPECT_GT(scale.item<float>(), 0.2F);
  EXPECT_LT(scale.item<float>(), 0.6F);
}

TEST(LearnedScales, ANonFiniteGradientIsLeftOut) {
  at::Tensor scale = at::tensor({1.0F, 1.0F});
  ScaleOptimizer optimizer(2);
  optimizer.update(at::tensor({NAN, 1.0F}), 0.1, scale);
  EXPECT_EQ(scale[0].item<float>(), 1.0F);
  EXPECT_LT(scale[1].item<float>(), 1.0F);
}

TEST(LearnedScales, MoveWithTheUpdateAndNotWithoutIt) {
  Parameter weight("w.weight", at::randn({4, 32}), LayerKind::kDense, true);
  const std::vector<Parameter*> parameters = {&weight};
  FlatParameters flat(parameters, layout_of(parameters), at::zeros({128}), Precision::kFp32);
  WeightQuantizer quantizer("q", {{"w.weight", make_weight_format("int4:group32")}}, parameters,
                            false);
  const auto options = int4_groups(32);
  quantizer.set_scales(0, {initial_step_size(options, flat.master_of(0)), {}});
  quantizer.learn_scales(0, ScaleLearning::kStep, 0.01);
  flat.add_transform(quantizer);
  const at::Tensor before = quantizer.scales_of(0)->scale.clone();
  flat.gradients().fill_(1);
  flat.finish_gradients();
  flat.publish();
  EXPECT_TRUE(at::equal(quantizer.scales_of(0)->scale, before)) << "no update was made";
  flat.update_transforms();
  flat.publish();
  const at::Tensor after = quantizer.scales_of(0)->scale.clone();
  EXPECT_FALSE(at::equal(after, before));
  flat.update_transforms();
  EXPECT_TRUE(at::equal(quantizer.scales_of(0)->scale, after)) << "one update for one gradient";
  EXPECT_EQ(quantizer.state().size(), 4u) << "scale, two moments, their number";
}

}  // namespace
}  // namespace wattle
