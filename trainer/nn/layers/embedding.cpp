#include "trainer/nn/layers/embedding.h"

#include <ATen/ops/embedding.h>
#include <c10/core/GradMode.h>

#include "trainer/nn/accumulate.h"
#include "trainer/nn/autograd.h"

namespace wattle {

Embedding::Embedding(const Scope& scope, int64_t rows, int64_t width, double deviation)
    : table_(scope.name_of("weight"), scope.normal("weight", {rows, width}, deviation),
             LayerKind::kEmbedding, false) {
  scope.add_weight(table_, nullptr);
}

at::Tensor Embedding::operator()(const at::Tensor& indices) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor rows = at::embedding(table_.value(), indices);
  if (!records) return rows;
  table_.expect_gradient();
  return record(rows, {}, [this, indices](const at::Tensor& grad) -> std::vector<at::Tensor> {
    table_.accumulate([&](at::Tensor& g, double beta) {
      if (beta == 0) g.zero_();
      g.index_add_(0, indices.flatten(), grad.reshape({-1, grad.size(-1)}).to(g.scalar_type()));
    });
    return {};
  });
}

PositionEmbedding::PositionEmbedding(const Scope& scope, int64_t positions, int64_t width,
                                     double deviation)
    : table_(scope.name_of("weight"), scope.normal("weight", {positions, width}, deviation),
             LayerKind::kEmbedding, false) {
  scope.add(table_);
}

at::Tensor PositionEmbedding::operator()(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const int64_t seq = x.size(1);
  const at::Tensor y = values_of(x).add_(table_.value().narrow(0, 0, seq));
  if (!records) return y;
  table_.expect_gradient();
  return record(y, {x}, [this, seq](const at::Tensor& grad) -> std::vector<at::Tensor> {
    table_.accumulate([&](at::Tensor& g, double beta) {
      at::Tensor used = g.narrow(0, 0, seq);
      if (beta == 0) g.narrow(0, seq, g.size(0) - seq).zero_();
      accumulate_values(used, beta, grad.sum(0, false, g.scalar_type()));
    });
    return {grad};
  });
}

}  // namespace wattle
