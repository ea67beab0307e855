#pragma once

#include <ATen/core/Tensor.h>

namespace wattle {

/// x + y, in y's storage: y must be nobody else's.
at::Tensor residual(const at::Tensor& x, const at::Tensor& y);

}  // namespace wattle
