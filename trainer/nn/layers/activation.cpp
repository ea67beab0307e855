#include "trainer/nn/layers/activation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/threshold_backward.h>
#include <c10/core/GradMode.h>

#include "trainer/nn/autograd.h"
#include "trainer/nn/graph/graph_recorder.h"
#include "trainer/nn/kernels/elementwise.h"
#include "trainer/nn/kernels/parallel_rows.h"
#include "trainer/nn/model.h"

namespace wattle {
namespace {

at::Tensor gelu_of(const at::Tensor& x) {
  if (!fits_kernels(x)) return at::gelu(x, "tanh");
  at::Tensor y = at::empty_like(x);
  const float* from = x.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  in_pieces(x.numel(), [&](int64_t i, int64_t count) { gelu_forward(from + i, to + i, count); });
  return y;
}

at::Tensor gelu_gradient(const at::Tensor& dy, const at::Tensor& x) {
  if (!fits_kernels(dy, x)) return at::gelu_backward(dy, x, "tanh");
  at::Tensor dx = at::empty_like(x);
  const float *at_x = x.const_data_ptr<float>(), *at_dy = dy.const_data_ptr<float>();
  float* at_dx = dx.mutable_data_ptr<float>();
  in_pieces(x.numel(), [&](int64_t i, int64_t count) {
    gelu_backward(at_x + i, at_dy + i, at_dx + i, count);
  });
  return dx;
}

/// The halves of a row [2 * width].
at::Tensor gate_of(const at::Tensor& x) { return x.narrow(-1, 0, x.size(-1) / 2); }
at::Tensor up_of(const at::Tensor& x) { return x.narrow(-1, x.size(-1) / 2, x.size(-1) / 2); }

at::Tensor swiglu_of(const at::Tensor& x) {
  if (!fits_kernels(x)) return at::silu(gate_of(x)).mul_(up_of(x));
  const int64_t width = x.size(-1) / 2, rows = x.numel() / (2 * width);
  at::Tensor y = at::empty(gate_of(x).sizes(), x.options());
  const float* from = x.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  each_row(rows, width, [&](int64_t row) {
    const float* gate = from + row * 2 * width;
    swiglu_forward(gate, gate + width, to + row * width, width);
  });
  return y;
}

at::Tensor swiglu_gradient(const at::Tensor& dy, const at::Tensor& x) {
  at::Tensor dx = at::empty_like(x);
  if (!fits_kernels(dy, x)) {
    at::Tensor dgate = gate_of(dx), dup = up_of(dx);
    at::mul_out(dup, dy, at::silu(gate_of(x)));
    dgate.copy_(at::silu_backward(dy * up_of(x), gate_of(x)));
    return dx;
  }
  const int64_t width = x.size(-1) / 2, rows = x.numel() / (2 * width);
  const float *at_x = x.const_data_ptr<float>(), *at_dy = dy.const_data_ptr<float>();
  float* at_dx = dx.mutable_data_ptr<float>();
  each_row(rows, width, [&](int64_t row) {
    const float* gate = at_x + row * 2 * width;
    float* dgate = at_dx + row * 2 * width;
    swiglu_backward(gate, gate + width, at_dy + row * width, dgate, dgate + width, width);
  });
  return dx;
}

}  // namespace

at::Tensor gelu(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor y = gelu_of(x);
  if (!records) return y;
  return record(y, {x}, [x](const at::Tensor& grad) -> std::vector<at::Tensor> {
    return {gelu_gradient(grad, x)};
  });
}

at::Tensor swiglu(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor y = swiglu_of(x);
  if (!records) return y;
  return record(y, {x}, [x](const at::Tensor& grad) -> std::vector<at::Tensor> {
    return {swiglu_gradient(grad, x)};
  });
}

at::Tensor relu(const at::Tensor& x, const ForwardContext& context) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor y = at::relu(x);
  if (context.recorder) context.recorder->add({.kind = OperationKind::kRelu}, {x}, y);
  if (!records) return y;
  return record(y, {x}, [y](const at::Tensor& grad) -> std::vector<at::Tensor> {
    return {at::threshold_backward(grad, y, 0)};
  });
}

}  // namespace wattle
