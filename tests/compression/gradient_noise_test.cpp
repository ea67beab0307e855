#include "compression/widths/gradient_noise.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include <cmath>

#include "common/error.h"
#include "tests/compression/compression_support.h"

namespace wattle {
namespace {

using support::normal;

class Noise : public testing::Test {
 protected:
  GradientNoise noise(int64_t values) { return {"noise", {1}, {&first_, &weight_}, values}; }
  void step(GradientNoise& noise, at::Tensor gradient, bool updated = true) {
    noise.transform_gradient(1, weight_.value(), gradient);
    noise.end_step(updated);
  }
  /// Steps whose gradient is a mean with noise of this standard deviation in each value.
  void steps(GradientNoise& noise, int64_t count, double deviation) {
    for (int64_t i = 0; i < count; ++i) {
      step(noise, mean_ + normal({40, 60}, 100 + i) * deviation);
    }
  }

  Parameter first_{"first", normal({3}, 1), LayerKind::kNorm, true};
  Parameter weight_{"weight", normal({40, 60}, 2), LayerKind::kDense, true};
  at::Tensor mean_ = normal({40, 60}, 3);
};

TEST_F(Noise, TellsTheNoiseFromTheMean) {
  for (const double deviation : {0.1, 1.0, 10.0}) {
    GradientNoise all = noise(1 << 20);
    steps(all, 200, deviation);
    const GradientNoiseReading found = all.reading(1);
    EXPECT_EQ(found.values, 2400);
    const double variance = 2400 * deviation * deviation;
    const double square = mean_.square().sum().item<double>();
    EXPECT_NEAR(found.variance / variance, 1, 0.02);
    EXPECT_NEAR(found.mean_square, square, 0.02 * square + 0.02 * variance);
    EXPECT_EQ(found.scale(), found.variance / found.mean_square);
  }
}

TEST_F(Noise, SomeOfTheValuesTellAsMuch) {
  GradientNoise all = noise(2400), some = noise(300);
  steps(all, 100, 2);
  steps(some, 100, 2);
  EXPECT_EQ(some.reading(1).values, 300);
  EXPECT_NEAR(some.reading(1).variance * 8 / all.reading(1).variance, 1, 0.1);
  EXPECT_NEAR(some.reading(1).scale() / all.reading(1).scale(), 1, 0.3);
}

TEST_F(Noise, WithoutNoiseItIsNone) {
  GradientNoise all = noise(2400);
  for (int i = 0; i < 5; ++i) step(all, mean_.clone());
  EXPECT_NEAR(all.reading(1).scale(), 0, 1e-6);
  GradientNoise silent = noise(2400);
  for (int i = 0; i < 5; ++i) step(silent, mean_ * 0);
  EXPECT_EQ(silent.reading(1).variance, 0);
  EXPECT_TRUE(std::isinf(silent.reading(1).scale()));
}

TEST_F(Noise, AnUpdateThatWasLeftOutDoesNotCount) {
  GradientNoise with = noise(100), without = noise(100);
  steps(with, 3, 1);
  steps(without, 3, 1);
  step(with, at::ones({40, 60}) * NAN, /*updated=*/false);
  EXPECT_EQ(with.steps(), 3);
  EXPECT_EQ(with.reading(1).variance, without.reading(1).variance);
}

TEST_F(Noise, ASavedStateGoesOnAsItWas) {
  GradientNoise whole = noise(100), first = noise(100), second = noise(100);
  steps(first, 4, 1);
  const auto saved = first.state();
  const auto restored = second.state();
  ASSERT_EQ(saved.size(), restored.size());
  for (size_t i = 0; i < saved.size(); ++i) {
    EXPECT_EQ(saved[i].name, restored[i].name);
    at::Tensor target = restored[i].value;
    target.copy_(saved[i].value);
  }
  EXPECT_EQ(second.steps(), 4);
  step(second, mean_.clone());
  steps(whole, 4, 1);
  step(whole, mean_.clone());
  EXPECT_EQ(second.reading(1).variance, whole.reading(1).variance);
  EXPECT_EQ(second.reading(1).mean_square, whole.reading(1).mean_square);
}

TEST_F(Noise, ChangesNeitherValuesNorGradients) {
  GradientNoise all = noise(100);
  at::Tensor gradient = mean_.clone(), values = mean_.clone();
  all.transform_gradient(1, weight_.value(), gradient);
  all.transform(1, values);
  EXPECT_TRUE(at::equal(gradient, mean_));
  EXPECT_TRUE(at::equal(values, mean_));
  EXPECT_FALSE(all.applies_to(0, first_));
  EXPECT_TRUE(all.applies_to(1, weight_));
}

TEST_F(Noise, OneStepIsTooFew) {
  GradientNoise all = noise(100);
  step(all, mean_.clone());
  EXPECT_THROW(all.reading(1), Error);
  step(all, mean_.clone());
  EXPECT_NO_THROW(all.reading(1));
  all.begin_window();
  EXPECT_EQ(all.steps(), 0);
}

}  // namespace
}  // namespace wattle
