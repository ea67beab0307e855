#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "compression/posttraining/gptq.h"

namespace wattle::support {

/// Plain rounding with the same grids.
inline at::Tensor round_to_nearest(const at::Tensor& weight, ColumnRounder& rounder) {
  at::AutoGradMode no_grad(false);
  at::Tensor rounded = at::empty_like(weight);
  const int64_t columns = weight.size(1), segment = rounder.segment_columns();
  for (int64_t j = 0; j < columns; ++j) {
    if (j % segment == 0) {
      rounder.begin_segment(weight.narrow(1, j, std::min(segment, columns - j)).contiguous());
    }
    rounded.select(1, j).copy_(rounder.round(weight.select(1, j).contiguous(), j % segment));
  }
  return rounded;
}

/// tr((W - V) H (W - V)^T): the squared error of the product over the inputs behind H.
inline double product_error(const at::Tensor& weight, const at::Tensor& rounded,
                            const at::Tensor& hessian) {
  const at::Tensor difference = (weight.detach() - rounded).to(at::kDouble);
  return (difference.mm(hessian) * difference).sum().item<double>();
}

}  // namespace wattle::support
