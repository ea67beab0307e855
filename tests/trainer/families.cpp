#include "tests/trainer/families.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/linspace.h>

namespace wattle::testing_support {

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

ModelOptions small_llama() {
  ModelOptions o = small_gpt2();
  o.family = ModelFamily::kLlama;
  o.width = 24;
  o.heads = 6;
  o.kv_heads = 2;
  return o;
}

ModelOptions small_mlp() {
  ModelOptions o;
  o.family = ModelFamily::kMlp;
  o.inputs = 5;
  o.hidden = {8, 7};
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

Batch row_batch(int64_t rows, int64_t features) {
  Batch batch;
  batch.inputs = at::linspace(-1, 1, rows * features, at::kDouble).sin().view({rows, features});
  batch.targets = batch.inputs.sum(1).gt(0).to(at::kDouble);
  for (int64_t i = 0; i < rows; ++i) batch.sample_indices.push_back(i);
  return batch;
}

Batch image_batch(int64_t count) {
  Batch batch;
  batch.inputs = at::linspace(0, 50, count * 2 * 8 * 8, at::kDouble).sin().view({count, 2, 8, 8});
  batch.targets = at::arange(count, at::kLong) % 3;
  for (int64_t i = 0; i < count; ++i) batch.sample_indices.push_back(i);
  return batch;
}

std::vector<SmallCase> small_cases() {
  return {{"gpt2", small_gpt2(), token_batch(3, 10, 19)},
          {"llama", small_llama(), token_batch(3, 10, 19)},
          {"mlp", small_mlp(), row_batch(9, 5)},
          {"resnet", small_images(ModelFamily::kResnet), image_batch(5)},
          {"vgg", small_images(ModelFamily::kVgg), image_batch(5)}};
}

Batch as_type(const Batch& batch, at::ScalarType type) {
  Batch same = batch;
  if (batch.inputs.is_floating_point()) same.inputs = batch.inputs.to(type);
  return same;
}

}  // namespace wattle::testing_support
