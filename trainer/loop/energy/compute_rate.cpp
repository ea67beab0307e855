#include "trainer/loop/energy/compute_rate.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>

namespace wattle {

double measure_matmul_rate(at::ScalarType type, at::Device device) {
  constexpr int64_t kSize = 768;
  constexpr double kOperations = 2.0 * kSize * kSize * kSize;
  at::AutoGradMode no_grad(false);
  const at::Tensor a = at::ones({kSize, kSize}, at::TensorOptions().dtype(type).device(device));
  const at::Tensor b = at::ones_like(a);
  at::Tensor product = at::empty_like(a);
  double best = 0;
  for (int run = 0; run < 6; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    at::mm_out(product, a, b);
    product[0][0].item<double>();  // waits for a GPU
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, kOperations / seconds.count());
  }
  return best;
}

double training_flops(const Model& model, const ModelOptions& options, int64_t sequence_length) {
  double flops = 0;
  for (const Weight& weight : model.weights) {
    if (weight.weight->kind() == LayerKind::kConvolution) return 0;
    if (weight.weight->kind() == LayerKind::kEmbedding && !options.tied_embeddings) continue;
    flops += 6.0 * static_cast<double>(weight.weight->value().numel());
  }
  if (options.is_language_model()) {
    flops += 12.0 * static_cast<double>(options.layers * options.width * sequence_length);
  }
  return flops;
}

}  // namespace wattle
