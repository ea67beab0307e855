#pragma once

#include "tests/trainer/training_support.h"

namespace wattle::testing_support {

/// A small model of a family and a batch for it, in float64.
struct SmallCase {
  std::string name;
  ModelOptions options;
  Batch batch;
};

ModelOptions small_gpt2();
ModelOptions small_llama();
ModelOptions small_mlp();
ModelOptions small_images(ModelFamily family);
Batch row_batch(int64_t rows, int64_t features);
Batch image_batch(int64_t count);

/// One of each family.
std::vector<SmallCase> small_cases();

/// The same batch with floating inputs in another dtype.
Batch as_type(const Batch& batch, at::ScalarType type);

}  // namespace wattle::testing_support
