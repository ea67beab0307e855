#pragma once

#include <ATen/core/Tensor.h>

namespace wattle {

/// x W^T + b for x [..., in], W [out, in] or a transposed view of that shape, b [out] or undefined.
/// In float32 on the CPU it is oneDNN's, which is 10 to 15 % faster than the BLAS that at::linear
/// takes (measured on Zen 4: 102 to 112 against 90 to 98 GFLOP/s a core) and adds the bias on the
/// way. Outside any graph.
at::Tensor affine(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

}  // namespace wattle
