#pragma once

#include <ATen/core/Tensor.h>

namespace wattle {

struct ForwardContext;

/// GELU by its tanh approximation (Hendrycks and Gimpel 2016), elementwise.
at::Tensor gelu(const at::Tensor& x);

/// silu(gate) * up (Shazeer 2020), for x [..., 2 * width] = gate [..., width], up [..., width].
at::Tensor swiglu(const at::Tensor& x);

/// max(x, 0), elementwise.
at::Tensor relu(const at::Tensor& x, const ForwardContext& context);

}  // namespace wattle
