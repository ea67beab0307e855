#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/nn/registry.h"

namespace wattle {

/// What batch norm with its running statistics multiplies each output channel by, [channels]
/// float32; 0 where it is too small to divide by.
at::Tensor fold_factor(const FollowingNorm& norm);

/// What is added after the folded product, [channels] float32, where the norm's bias is this one.
at::Tensor folded_bias(const FollowingNorm& norm, const at::Tensor& bias);

/// values [channels, ...] times a factor of each channel, in place; and divided by it, where it
/// isn't 0, else left as `otherwise` has them.
void multiply_channels(at::Tensor& values, const at::Tensor& factor);
void divide_channels(at::Tensor& values, const at::Tensor& factor, const at::Tensor& otherwise);

}  // namespace wattle
