#pragma once

#include <ATen/core/Tensor.h>

namespace wattle {

// How a gradient is delivered (Parameter::accumulate). Where the dtypes differ, the new part is
// computed in its own dtype and added in the gradient's.

/// grad = beta * grad + a^T b, for a [n, rows], b [n, columns], grad [rows, columns].
void accumulate_product(at::Tensor& grad, double beta, const at::Tensor& a, const at::Tensor& b);

/// grad = beta * grad + sum of rows over dim 0, for rows [n, columns], grad [columns].
void accumulate_sum(at::Tensor& grad, double beta, const at::Tensor& rows);

/// grad = beta * grad + values.
void accumulate_values(at::Tensor& grad, double beta, const at::Tensor& values);

}  // namespace wattle
