#include "trainer/nn/objectives/token_objective.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "trainer/nn/accumulate.h"
#include "trainer/nn/autograd.h"
#include "trainer/nn/layers/trace.h"
#include "trainer/nn/objectives/logit_loss.h"
#include "trainer/nn/objectives/softmax_loss.h"
#include "trainer/nn/product.h"

namespace wattle {
namespace {

/// The logits of one chunk take about this much memory.
constexpr int64_t kChunkBytes = 64 << 20;

/// Rows that go through the head at a time: equal chunks.
int64_t rows_per_chunk(int64_t rows, const at::Tensor& weight) {
  const int64_t row_bytes = weight.size(0) * static_cast<int64_t>(sizeof(float));
  const int64_t chunks = std::max<int64_t>(1, (rows * row_bytes + kChunkBytes - 1) / kChunkBytes);
  return (rows + chunks - 1) / chunks;
}

}  // namespace

TokenObjective::TokenObjective(const Scope& scope, int64_t vocab, int64_t width, double deviation)
    : own_(std::in_place, scope.name_of("weight"),
           scope.normal("weight", {vocab, width}, deviation), LayerKind::kHead, true),
      weight_(&*own_) {
  scope.add_weight(*weight_, nullptr);
}

LossResult TokenObjective::loss(const at::Tensor& activations, const at::Tensor& targets,
                                const ForwardContext& context) {
  if (context.trace) context.trace->enter_forward(LayerKind::kHead);
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor& weight = weight_->value();
  const at::Tensor x = activations.reshape({-1, activations.size(-1)});
  const at::Tensor wanted = targets.reshape({-1});
  const int64_t rows = x.size(0), chunk_rows = rows_per_chunk(rows, weight);
  const int64_t scored = count_scored(wanted);
  const double gradient_scale = scored ? context.loss_weight / static_cast<double>(scored) : 0;

  LogitLoss* other = context.training ? logit_loss_ : nullptr;
  if (other) other->begin(context);
  weight_->multiplies(x);

  at::Tensor dx = records ? at::empty_like(x) : at::Tensor();
  double total = 0;
  const auto each_chunk = [&](const auto& use) {
    for (int64_t first = 0; first < rows; first += chunk_rows) {
      const int64_t count = std::min(chunk_rows, rows - first);
      at::Tensor logits = affine(x.narrow(0, first, count), weight);
      const at::Tensor targets_of_chunk = wanted.narrow(0, first, count);
      const auto scale = records ? std::optional(gradient_scale) : std::nullopt;
      total += other ? other->loss_(logits, targets_of_chunk, first, scale)
                     : softmax_loss_(logits, targets_of_chunk, scale);
      use(first, count, logits);
    }
  };
  if (!records) {
    each_chunk([](int64_t, int64_t, const at::Tensor&) {});
  } else {
    weight_->expect_gradient();
    weight_->accumulate([&](at::Tensor& g, double beta) {
      each_chunk([&](int64_t first, int64_t count, const at::Tensor& dlogits) {
        dx.narrow(0, first, count).copy_(affine(dlogits, weight.t()));
        accumulate_product(g, first == 0 ? beta : 1.0, dlogits, x.narrow(0, first, count));
      });
    });
  }
  const at::ScalarType type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  LossResult result;
  result.scored = scored;
  result.loss =
      at::full({}, scored ? total / static_cast<double>(scored) : 0.0, x.options().dtype(type));
  if (!records) return result;
  result.loss = record(result.loss, {activations},
                       [dx = dx.view(activations.sizes())](
                           const at::Tensor&) -> std::vector<at::Tensor> { return {dx}; });
  return result;
}

at::Tensor TokenObjective::predict(const at::Tensor& activations) {
  at::AutoGradMode no_grad(false);
  return affine(activations, weight_->value());
}

bool TokenObjective::set_logit_loss(LogitLoss* loss) {
  logit_loss_ = loss;
  return true;
}

}  // namespace wattle
