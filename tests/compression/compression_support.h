#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "trainer/data/dataset.h"
#include "trainer/models/build_model.h"

namespace wattle::support {

inline at::Tensor normal(at::IntArrayRef shape, uint64_t seed) {
  at::Tensor values = at::empty(shape);
  return values.normal_(0.0, 1.0, at::make_generator<at::CPUGeneratorImpl>(seed));
}

inline ModelOptions tiny_llama(int64_t vocab = 64) {
  ModelOptions options;
  options.family = ModelFamily::kLlama;
  options.layers = 1;
  options.width = 32;
  options.heads = 2;
  options.ffn_width = 64;
  options.vocab = vocab;
  options.positions = 16;
  return options;
}

/// Sequences of 16 tokens that follow from their index.
class CountingText : public Dataset {
 public:
  explicit CountingText(int64_t samples, int64_t vocab = 64) : samples_(samples), vocab_(vocab) {}
  int64_t size() const override { return samples_; }
  const SampleShape& shape() const override { return shape_; }
  Batch fetch(std::span<const int64_t> indices) const override {
    const auto rows = static_cast<int64_t>(indices.size());
    Batch batch{at::zeros({rows, 16}, at::kLong), at::zeros({rows, 16}, at::kLong), {}};
    batch.sample_indices.assign(indices.begin(), indices.end());
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t t = 0; t < 16; ++t) {
        batch.inputs[row][t] = (indices[row] * 7 + t * t) % vocab_;
        batch.targets[row][t] = (indices[row] * 7 + (t + 1) * (t + 1)) % vocab_;
      }
    }
    return batch;
  }

 private:
  int64_t samples_, vocab_;
  SampleShape shape_{SampleShape::Kind::kTokens, {16}, 64};
};

}  // namespace wattle::support
