#include "trainer/nn/accumulate.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

namespace wattle {

void accumulate_product(at::Tensor& grad, double beta, const at::Tensor& a, const at::Tensor& b) {
  if (grad.scalar_type() != a.scalar_type()) {
    accumulate_values(grad, beta, at::mm(a.t(), b));
  } else if (beta == 0) {
    at::mm_out(grad, a.t(), b);
  } else {
    at::addmm_out(grad, grad, a.t(), b, beta);
  }
}

void accumulate_sum(at::Tensor& grad, double beta, const at::Tensor& rows) {
  accumulate_values(grad, beta, rows.sum(0, false, grad.scalar_type()));
}

void accumulate_values(at::Tensor& grad, double beta, const at::Tensor& values) {
  if (beta == 0) {
    grad.copy_(values);
  } else {
    grad.add_(values);
  }
}

}  // namespace wattle
