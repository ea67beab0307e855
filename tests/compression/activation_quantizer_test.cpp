#include "compression/activations/activation_quantizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ActivationSettings settings(bool symmetric = false, bool learns = false) {
  ActivationSettings settings;
  settings.grid = {8, symmetric};
  settings.observer.kind = ObserverKind::kMinMax;
  settings.learns_ends = learns;
  settings.rate = 0.1;
  return settings;
}

/// Has seen one batch of these values, and rounds from now on.
ActivationQuantizer rounding(const ActivationSettings& settings, const at::Tensor& seen) {
  ActivationQuantizer quantizer("stem.relu", settings);
  quantizer.set_observing(true);
  quantizer.apply(seen);
  quantizer.set_observing(false);
  quantizer.set_rounding(true);
  quantizer.batch_ends(true, {});
  return quantizer;
}

std::vector<float> floats(const at::Tensor& values) {
  return {values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel()};
}

TEST(ActivationQuantizer, HandsOnWhatItGetsUntilABatchWasSeen) {
  ActivationQuantizer quantizer("input", settings());
  quantizer.set_rounding(true);
  const at::Tensor x = at::tensor({0.3f, 1.7f});
  EXPECT_TRUE(quantizer.apply(x).is_same(x));
  EXPECT_FALSE(quantizer.rounds());
}

TEST(ActivationQuantizer, RoundsToTheRangeThatItSaw) {
  // 255 steps from -1 to 254: scale 1, zero point -127.
  ActivationQuantizer quantizer = rounding(settings(), at::tensor({-1.0f, 254.0f}));
  EXPECT_EQ(quantizer.scale(), (AffineScale{1, -127}));
  EXPECT_THAT(floats(quantizer.apply(at::tensor({-3.0f, 0.5f, 1.5f, 99.6f, 300.0f}))),
              ElementsAre(-1, 0, 2, 100, 254));
  ActivationQuantizer both = rounding(settings(true), at::tensor({-63.5f, 10.0f}));
  EXPECT_EQ(both.scale(), (AffineScale{0.5, 0}));
  EXPECT_THAT(floats(both.apply(at::tensor({-99.0f, 0.3f, 63.5f}))), ElementsAre(-63.5, 0.5, 63.5));
}

TEST(ActivationQuantizer, AGridStaysWithinAStep) {
  ActivationQuantizer quantizer = rounding(settings(), at::tensor({0.0f, 255.0f}));
  quantizer.set_observing(true);
  quantizer.apply(at::tensor({510.0f}));
  EXPECT_THAT(floats(quantizer.apply(at::tensor({510.0f}))), ElementsAre(255));
  quantizer.batch_ends(true, {});
  EXPECT_THAT(floats(quantizer.apply(at::tensor({510.0f}))), ElementsAre(510));
}

TEST(ActivationQuantizer, ABatchThatIsLeftOutIsForgotten) {
  ActivationQuantizer quantizer = rounding(settings(), at::tensor({0.0f, 255.0f}));
  quantizer.set_observing(true);
  quantizer.apply(at::tensor({510.0f}));
  quantizer.batch_ends(false, {});
  quantizer.batch_ends(true, {});
  EXPECT_THAT(floats(quantizer.apply(at::tensor({510.0f}))), ElementsAre(255));
}

at::Tensor gradient_at(ActivationQuantizer& quantizer, const at::Tensor& values) {
  at::Tensor x = values.clone().requires_grad_(true);
  quantizer.apply(x).backward(at::ones({values.numel()}));
  return x.grad();
}

TEST(ActivationQuantizer, GradientsPassStraightThroughBetweenTheEnds) {
  ActivationQuantizer quantizer = rounding(settings(), at::tensor({-1.0f, 254.0f}));
  const at::Tensor x = at::tensor({-3.0f, -1.2f, 100.3f, 254.4f, 255.0f});
  EXPECT_THAT(floats(gradient_at(quantizer, x)), ElementsAre(0, 1, 1, 1, 0));
  ActivationSettings open = settings();
  open.clip_gradients = false;
  ActivationQuantizer unclipped = rounding(open, at::tensor({-1.0f, 254.0f}));
  EXPECT_THAT(floats(gradient_at(unclipped, x)), ElementsAre(1, 1, 1, 1, 1));
}

TEST(ActivationQuantizer, LearnedEndsCollectWhatTheyClip) {
  ActivationQuantizer quantizer = rounding(settings(false, true), at::tensor({-1.0f, 254.0f}));
  const at::Tensor x = at::tensor({-3.0f, -2.0f, 5.0f, 254.0f, 255.0f, 256.0f});
  EXPECT_THAT(floats(gradient_at(quantizer, x)), ElementsAre(0, 0, 1, 0, 0, 0));
  EXPECT_THAT(quantizer.end_gradients(), ElementsAre(std::array<double, 2>{2, 3}));
}

TEST(ActivationQuantizer, LearnedEndsGoAgainstTheirGradient) {
  for (const double sign : {1.0, -1.0}) {
    ActivationQuantizer quantizer = rounding(settings(false, true), at::tensor({-100.0f, 155.0f}));
    const ClipRange before = covered_by(*quantizer.scale(), quantizer.grid());
    // d(loss)/d(low) is above 0: a lower end helps. Likewise for the higher end.
    quantizer.batch_ends(true, {sign * 3, sign * 2});
    const ClipRange after = covered_by(*quantizer.scale(), quantizer.grid());
    EXPECT_GT(sign * (before.low - after.low), 5);
    EXPECT_GT(sign * (before.high - after.high), 5);
  }
}

TEST(ActivationQuantizer, NamesThePointOfANumberThatIsNone) {
  ActivationQuantizer quantizer("stem.relu", settings());
  quantizer.set_observing(true);
  const at::Tensor x = at::tensor({1.0f, std::numeric_limits<float>::quiet_NaN()}).view({2, 1});
  const at::NoGradGuard no_training;
  try {
    quantizer.apply(x);
    FAIL() << "a NaN was taken in";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNonFinite);
    EXPECT_THAT(error.what(), HasSubstr("calibration: stem.relu: value 0 of row 1 is nan"));
  }
  ActivationQuantizer active = rounding(settings(), at::tensor({0.0f, 1.0f}));
  EXPECT_THROW(active.apply(x), Error);
}

TEST(ActivationQuantizer, LeavesABadStepOfTrainingToTheLoop) {
  const at::Tensor x = at::tensor({1.0f, std::numeric_limits<float>::infinity()});
  ActivationQuantizer observing("stem.relu", settings());
  observing.set_observing(true);
  ActivationQuantizer active = rounding(settings(), at::tensor({0.0f, 1.0f}));
  for (ActivationQuantizer* quantizer : {&observing, &active}) {
    EXPECT_TRUE(quantizer->apply(x).isnan().all().item<bool>());
    EXPECT_TRUE(quantizer->batch().empty()) << "it is not taken in";
  }
}

TEST(ActivationQuantizer, ASavedStateGoesOnAsItWas) {
  for (const bool learns : {false, true}) {
    ActivationQuantizer quantizer = rounding(settings(false, learns), at::tensor({-0.3f, 7.1f}));
    quantizer.batch_ends(true, {0.1, -0.7});
    ActivationQuantizer loaded("stem.relu", settings(false, learns));
    loaded.load(nlohmann::json::parse(quantizer.save().dump()));
    loaded.set_rounding(true);
    for (int step = 0; step < 3; ++step) {
      for (ActivationQuantizer* q : {&quantizer, &loaded}) {
        q->set_observing(!learns);
        q->apply(at::tensor({-0.1f * static_cast<float>(step), 8.3f}));
        q->batch_ends(true, {0.2, -0.1 * step});
      }
      EXPECT_EQ(loaded.scale(), quantizer.scale());
      EXPECT_EQ(loaded.save(), quantizer.save());
    }
  }
}

}  // namespace
}  // namespace wattle
