#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linspace.h>
#include <gmock/gmock.h>

#include <cmath>

#include "tests/trainer/training_support.h"
#include "trainer/models/build_model.h"

namespace wattle {
namespace {

using testing_support::gradient_error;
using testing_support::rows_of;
using testing_support::token_batch;
using testing_support::TrainableModel;

ModelOptions small_gpt2() {
  ModelOptions o;
  o.family = ModelFamily::kGpt2;
  o.layers = 2;
  o.width = 16;
  o.heads = 2;
  o.vocab = 19;
  o.positions = 12;
  return o;
}

ModelOptions small_mlp() {
  ModelOptions o;
  o.family = ModelFamily::kMlp;
  o.inputs = 5;
  o.hidden = {8, 7};
  return o;
}

Batch row_batch(int64_t rows, int64_t features) {
  Batch batch;
  batch.inputs = at::linspace(-1, 1, rows * features, at::kDouble).sin().view({rows, features});
  batch.targets = batch.inputs.sum(1).gt(0).to(at::kDouble);
  for (int64_t i = 0; i < rows; ++i) batch.sample_indices.push_back(i);
  return batch;
}

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

ModelOptions small_llama() {
  ModelOptions o = small_gpt2();
  o.family = ModelFamily::kLlama;
  o.width = 24;
  o.heads = 6;
  o.kv_heads = 2;
  return o;
}

ModelOptions small_images(ModelFamily family) {
  ModelOptions o;
  o.family = family;
  o.inputs = 2;
  o.channels = {4, 6};
  o.outputs = 3;
  if (family == ModelFamily::kVgg) o.hidden = {5};
  return o;
}

Batch image_batch(int64_t count) {
  Batch batch;
  batch.inputs = at::linspace(0, 50, count * 2 * 8 * 8, at::kDouble).sin().view({count, 2, 8, 8});
  batch.targets = at::arange(count, at::kLong) % 3;
  for (int64_t i = 0; i < count; ++i) batch.sample_indices.push_back(i);
  return batch;
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
