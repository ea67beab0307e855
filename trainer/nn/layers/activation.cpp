#include "trainer/nn/layers/activation.h"

#include <ATen/TensorOperators.h>
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

namespace wattle {

at::Tensor gelu(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor y = at::gelu(x, "tanh");
  if (!records) return y;
  return record(y, {x}, [x](const at::Tensor& grad) -> std::vector<at::Tensor> {
    return {at::gelu_backward(grad, x, "tanh")};
  });
}

at::Tensor swiglu(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const int64_t width = x.size(-1) / 2;
  const at::Tensor y = at::silu(x.narrow(-1, 0, width)).mul_(x.narrow(-1, width, width));
  if (!records) return y;
  return record(y, {x}, [x, width](const at::Tensor& grad) -> std::vector<at::Tensor> {
    const at::Tensor gate = x.narrow(-1, 0, width), up = x.narrow(-1, width, width);
    at::Tensor dx = at::empty_like(x);
    at::Tensor dgate = dx.narrow(-1, 0, width), dup = dx.narrow(-1, width, width);
    at::mul_out(dup, grad, at::silu(gate));
    dgate.copy_(at::silu_backward(grad * up, gate));
    return {dx};
  });
}

at::Tensor relu(const at::Tensor& x) {
  const bool records = recording();
  at::AutoGradMode no_grad(false);
  const at::Tensor y = at::relu(x);
  if (!records) return y;
  return record(y, {x}, [y](const at::Tensor& grad) -> std::vector<at::Tensor> {
    return {at::threshold_backward(grad, y, 0)};
  });
}

}  // namespace wattle
