#pragma once

#include "trainer/nn/scope.h"

namespace wattle {

/// Rows of a table [rows, width] by int64 index. Backward adds the rows of the gradient into the
/// table's gradient view, in the order of the indices, without a dense temporary.
class Embedding {
 public:
  Embedding(const Scope& scope, int64_t rows, int64_t width, double deviation);

  /// indices [...] to [..., width].
  at::Tensor operator()(const at::Tensor& indices);

  Parameter& table() { return table_; }

 private:
  Parameter table_;
};

/// Learned absolute positions: adds row t of a table [positions, width] to x [batch, seq, width].
class PositionEmbedding {
 public:
  PositionEmbedding(const Scope& scope, int64_t positions, int64_t width, double deviation);

  /// In place: x must be nobody else's.
  at::Tensor operator()(const at::Tensor& x);

 private:
  Parameter table_;
};

}  // namespace wattle
