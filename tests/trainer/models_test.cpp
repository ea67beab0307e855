#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "tests/trainer/families.h"
#include "trainer/models/build_model.h"
#include "trainer/models/generate.h"

namespace wattle {
namespace {

using namespace testing_support;  // NOLINT: the vocabulary of these tests

TEST(Gpt2, GradientsAreThoseOfTheLoss) {
  TrainableModel model(small_gpt2(), at::kDouble);
  EXPECT_LT(gradient_error(model, token_batch(3, 10, 19), {}), 1e-6);
}

TEST(Gpt2, GradientsAreThoseOfTheLossWithDropoutAndAnUntiedHead) {
  ModelOptions options = small_gpt2();
  options.dropout = 0.3;
  options.tied_embeddings = false;
  TrainableModel model(options, at::kDouble);
  EXPECT_LT(gradient_error(model, token_batch(3, 10, 19), {.seed = 7, .step = 2}), 1e-6);
}

TEST(Gpt2, StartsAtTheLossOfAUniformGuessAndLearns) {
  TrainableModel model(small_gpt2(), at::kFloat);
  const Batch batch = token_batch(4, 12, 19);
  const double first = model.step(batch);
  EXPECT_NEAR(first, std::log(19.0), 0.05);
  for (int i = 0; i < 60; ++i) {
    model.step(batch);
    model.descend(0.5);
  }
  EXPECT_LT(model.loss(batch), 0.7 * first);
}

TEST(Llama, GradientsAreThoseOfTheLoss) {
  TrainableModel model(small_llama(), at::kDouble);
  EXPECT_LT(gradient_error(model, token_batch(2, 9, 19), {}), 1e-6);
}

TEST(Resnet, GradientsAreThoseOfTheLoss) {
  TrainableModel model(small_images(ModelFamily::kResnet), at::kDouble);
  EXPECT_LT(gradient_error(model, image_batch(5), {}), 1e-5);
}

TEST(Vgg, GradientsAreThoseOfTheLoss) {
  TrainableModel model(small_images(ModelFamily::kVgg), at::kDouble);
  EXPECT_LT(gradient_error(model, image_batch(5), {}), 1e-5);
}

TEST(Resnet, EvaluatesWithTheRunningStatisticsOfTraining) {
  TrainableModel model(small_images(ModelFamily::kResnet), at::kDouble);
  const Batch batch = image_batch(6);
  std::vector<BatchStatistics> statistics;
  const double trained = model.step(batch, {.statistics = &statistics});
  EXPECT_GT(std::abs(model.loss(batch) - trained), 1e-3) << "running statistics not used yet";
  for (int i = 0; i < 200; ++i) model.model().update_running_statistics(statistics);
  EXPECT_NEAR(model.loss(batch), trained, 0.05) << "unbiased variance differs a little";
}

TEST(Resnet, GradientsAreThoseOfTheLossWithFrozenNorms) {
  TrainableModel model(small_images(ModelFamily::kResnet), at::kDouble);
  const Batch batch = image_batch(5);
  std::vector<BatchStatistics> statistics;
  model.step(batch, {.statistics = &statistics});
  for (int i = 0; i < 20; ++i) model.model().update_running_statistics(statistics);
  statistics.clear();
  ForwardContext context;
  context.frozen_norms = true;
  context.statistics = &statistics;
  EXPECT_LT(gradient_error(model, batch, context), 1e-5);
  EXPECT_TRUE(statistics.empty());
  EXPECT_NEAR(model.step(batch, context), model.loss(batch), 1e-12);
}

TEST(Mlp, GradientsAreThoseOfTheLoss) {
  TrainableModel model(small_mlp(), at::kDouble);
  EXPECT_LT(gradient_error(model, row_batch(9, 5), {}), 1e-6);
}

TEST(Mlp, GradientsAreThoseOfTheLossWithDropout) {
  ModelOptions options = small_mlp();
  options.dropout = 0.5;
  options.loss = ModelLoss::kMse;
  TrainableModel model(options, at::kDouble);
  EXPECT_LT(gradient_error(model, row_batch(9, 5), {.seed = 3}), 1e-6);
}

TEST(Mlp, TakesImagesAsRows) {
  ModelOptions options = small_mlp();
  options.inputs = image_batch(3).inputs[0].numel();
  for (const std::vector<int64_t>& hidden : {std::vector<int64_t>{4}, std::vector<int64_t>{}}) {
    options.hidden = hidden;
    options.outputs = 10;
    TrainableModel model(options, at::kFloat);
    const Batch images = as_type(image_batch(3), at::kFloat);
    Batch rows = images;
    rows.inputs = images.inputs.reshape({3, -1});
    EXPECT_EQ(model.step(images), model.step(rows));
  }
}

/// The largest distance between two gradients of a parameter, relative to its largest element.
double distance(const at::Tensor& a, const at::Tensor& b) {
  const double scale = std::max(b.abs().max().item<double>(), 1e-3);
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>() / scale;
}

TEST(Model, TheFloat32KernelsAgreeWithFloat64InEveryFamily) {
  for (const SmallCase& c : small_cases()) {
    TrainableModel wide(c.options, at::kDouble), narrow(c.options, at::kFloat);
    EXPECT_NEAR(narrow.step(as_type(c.batch, at::kFloat)), wide.step(c.batch), 1e-5) << c.name;
    const auto expected = wide.gradients(), got = narrow.gradients();
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_LT(distance(got[i], expected[i]), 2e-4)
          << c.name << " " << wide.model().parameters[i]->name();
    }
  }
}

TEST(Model, TrainsInBf16InEveryFamily) {
  for (const SmallCase& c : small_cases()) {
    TrainableModel wide(c.options, at::kDouble), narrow(c.options, at::kBFloat16);
    EXPECT_NEAR(narrow.step(as_type(c.batch, at::kBFloat16)), wide.step(c.batch), 0.05) << c.name;
    const auto expected = wide.gradients(), got = narrow.gradients();
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_LT(distance(got[i], expected[i]), 0.3)
          << c.name << " " << wide.model().parameters[i]->name();
    }
  }
}

TEST(Model, EveryParameterIsReadyOnceAndAfterItsLastDelivery) {
  for (const SmallCase& c : small_cases()) {
    TrainableModel trained(c.options, at::kDouble);
    trained.step(c.batch);
    const auto expected = trained.gradients();
    const auto& parameters = trained.model().parameters;
    std::vector<int> readied(parameters.size());
    for (size_t i = 0; i < parameters.size(); ++i) {
      parameters[i]->on_ready([&, i] {
        ++readied[i];
        EXPECT_EQ(distance(parameters[i]->grad(), expected[i]), 0) << parameters[i]->name();
      });
    }
    trained.step(c.batch);
    EXPECT_THAT(readied, testing::Each(1)) << c.name;
  }
}

/// Sets what one unit of a group owns, in the slices of one dimension, to zero.
void silence(const UnitGroup& group, int64_t unit, int64_t dim) {
  at::AutoGradMode no_grad(false);
  for (const UnitSlice& slice : group.slices) {
    if (slice.dim != dim) continue;
    slice.parameter->value()
        .narrow(dim, slice.first + unit * slice.per_unit, slice.per_unit)
        .zero_();
  }
}

TEST(Registry, AUnitIsGoneWhicheverSideOfItIsZero) {
  for (const SmallCase& c : small_cases()) {
    const size_t groups = TrainableModel(c.options, at::kDouble).model().groups.size();
    EXPECT_GT(groups, 0u) << c.name;
    for (size_t g = 0; g < groups; ++g) {
      TrainableModel makers(c.options, at::kDouble), consumers(c.options, at::kDouble);
      const double whole = makers.loss(c.batch, {.training = true});
      silence(makers.model().groups[g], 1, 0);
      silence(consumers.model().groups[g], 1, 1);
      const double left = makers.loss(c.batch, {.training = true});
      EXPECT_NE(left, whole) << c.name << " " << makers.model().groups[g].name;
      EXPECT_NEAR(left, consumers.loss(c.batch, {.training = true}), 1e-12)
          << c.name << " " << makers.model().groups[g].name;
    }
  }
}

TEST(Registry, InitialValuesDependOnSeedAndNameAlone) {
  ModelOptions deeper = small_gpt2();
  deeper.layers = 3;
  const auto qkv = [](const ModelOptions& options, uint64_t seed, at::ScalarType type) {
    Model model = build_model(options, seed, type);
    for (Parameter* parameter : model.parameters) {
      if (parameter->name() == "blocks.1.attention.qkv.weight") {
        return parameter->value().detach().to(at::kFloat);
      }
    }
    return at::Tensor();
  };
  const at::Tensor values = qkv(small_gpt2(), 1, at::kFloat);
  EXPECT_TRUE(values.equal(qkv(deeper, 1, at::kDouble)));
  EXPECT_FALSE(values.equal(qkv(small_gpt2(), 2, at::kFloat)));
}

/// Writes down what is announced.
class Recorder : public LayerTrace {
 public:
  void enter_forward(LayerKind kind) override { forward.emplace_back(name_of(kind)); }
  void enter_backward(LayerKind kind) override { backward.emplace_back(name_of(kind)); }
  std::vector<std::string> forward, backward;
};

TEST(LayerTrace, FollowsForwardAndBackwardThroughTheLayers) {
  ModelOptions options = small_gpt2();
  options.layers = 1;
  TrainableModel model(options, at::kFloat);
  Recorder recorder;
  model.step(token_batch(2, 6, 19), {.trace = &recorder});
  EXPECT_THAT(recorder.forward, testing::ElementsAre("embedding", "norm", "attention", "norm",
                                                     "feed_forward", "norm", "head"));
  EXPECT_THAT(recorder.backward, testing::ElementsAre("norm", "feed_forward", "norm", "attention",
                                                      "norm", "embedding"));
}

TEST(Generate, ContinuesWhatTheModelLearned) {
  TrainableModel model(small_gpt2(), at::kFloat);
  Batch batch = token_batch(1, 12, 19);
  batch.inputs = at::arange(12, at::kLong).view({1, 12}) % 3;
  batch.targets = (batch.inputs + 1) % 3;
  for (int i = 0; i < 100; ++i) {
    model.step(batch);
    model.descend(0.3);
  }
  EXPECT_THAT(generate(model.model(), {0, 1}, {.count = 5, .temperature = 0, .positions = 12}),
              testing::ElementsAre(0, 1, 2, 0, 1, 2, 0));
  const SampleOptions wild{.count = 20, .temperature = 5, .seed = 3, .positions = 12};
  EXPECT_EQ(generate(model.model(), {0}, wild), generate(model.model(), {0}, wild));
}

TEST(Model, MicroBatchesAddUpToTheBatchWithDropoutToo) {
  ModelOptions options = small_gpt2();
  options.dropout = 0.2;
  TrainableModel model(options, at::kDouble);
  const Batch batch = token_batch(4, 12, 19);
  const double whole = model.step(batch);
  const auto expected = model.gradients();
  EXPECT_NEAR(model.step({rows_of(batch, 0, 2), rows_of(batch, 2, 4)}), whole, 1e-12);
  const auto split = model.gradients();
  for (size_t i = 0; i < split.size(); ++i) {
    EXPECT_LT((split[i] - expected[i]).abs().max().item<double>(), 1e-12);
  }
}

}  // namespace
}  // namespace wattle
