#pragma once

#include "tests/compression/compression_support.h"

namespace wattle::support {

/// Twelve images of 6x6 with a class of three, whose neighbouring pixels hang together.
class Images : public Dataset {
 public:
  int64_t size() const override { return 12; }
  const SampleShape& shape() const override { return shape_; }
  Batch fetch(std::span<const int64_t> indices) const override {
    const auto count = static_cast<int64_t>(indices.size());
    Batch batch{at::zeros({count, 1, 6, 6}), at::zeros({count}, at::kLong), {}};
    batch.sample_indices.assign(indices.begin(), indices.end());
    for (int64_t i = 0; i < count; ++i) {
      const at::Tensor noise = normal({1, 6, 6}, 500 + indices[i]);
      batch.inputs[i].copy_(noise.cumsum(2) * 0.5 + noise.cumsum(1) * 0.5);
      batch.targets[i] = indices[i] % 3;
    }
    return batch;
  }
  at::Tensor all() const {
    std::vector<int64_t> indices;
    for (int64_t i = 0; i < size(); ++i) indices.push_back(i);
    return fetch(indices).inputs;
  }

 private:
  SampleShape shape_{SampleShape::Kind::kImage, {1, 6, 6}, 3};
};

/// A residual network with a block of stride 2.
inline ModelOptions tiny_resnet() {
  ModelOptions options;
  options.family = ModelFamily::kResnet;
  options.channels = {4, 6};
  options.outputs = 3;
  return options;
}

/// The same, whose batch norms multiply each channel by something of its own.
inline Model resnet_with_statistics() {
  Model model = build_model(tiny_resnet(), 1);
  uint64_t seed = 40;
  for (const Weight& weight : model.weights) {
    if (!weight.norm) continue;
    const at::IntArrayRef channels = weight.norm->running_mean.sizes();
    weight.norm->weight->value().detach().copy_(normal(channels, ++seed) * 0.5 + 1);
    at::Tensor mean = weight.norm->running_mean, variance = weight.norm->running_variance;
    mean.copy_(normal(channels, ++seed) * 0.1);
    variance.copy_(normal(channels, ++seed).square() + 0.2);
  }
  return model;
}

}  // namespace wattle::support
