#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/nn/registry.h"

namespace wattle {

/// Batch norm's running statistics folded into the product before it (Jacob et al. 2018,
/// arXiv:1712.05877, section 3.2): weight * factor, and bias - mean * factor. Who folds and who
/// deploys compute it here, so that they agree to the last bit.

/// What batch norm with its running statistics multiplies each output channel by, [channels]; 0
/// where it is too small to divide by.
at::Tensor fold_factor(const FollowingNorm& norm);

/// What is added after the folded product, [channels], where the norm's bias is this one.
at::Tensor folded_bias(const FollowingNorm& norm, const at::Tensor& bias);

/// values [channels, ...] times a factor of each channel, in place.
void multiply_channels(at::Tensor& values, const at::Tensor& factor);

/// values divided by the factor, where it isn't 0, else left as `otherwise` has them, in place.
void divide_channels(at::Tensor& values, const at::Tensor& factor, const at::Tensor& otherwise);

/// The factor, but 1 in the channels that it turns off: folded weights keep their values there, so
/// that the norm's weight has a gradient by which it can come back.
at::Tensor fold_divisor(const at::Tensor& factor);

}  // namespace wattle
