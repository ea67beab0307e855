#pragma once

#include "trainer/nn/model.h"

namespace wattle {

/// The largest of each window x window square, [batch, channels, height, width] to
/// [batch, channels, height / window, width / window].
at::Tensor max_pool(const at::Tensor& x, int64_t window, const ForwardContext& context);

/// The mean over each channel's plane, [batch, channels, height, width] to [batch, channels].
at::Tensor mean_pool(const at::Tensor& x, const ForwardContext& context);

}  // namespace wattle
