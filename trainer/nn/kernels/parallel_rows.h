#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>

namespace wattle {

/// Whether the float32 kernels of this folder can work on these tensors.
template <class... Tensors>
bool fits_kernels(const Tensors&... tensors) {
  return ((tensors.is_cpu() && tensors.scalar_type() == at::kFloat && tensors.is_contiguous()) &&
          ...);
}

/// Runs kernel(begin, count) over pieces of [0, count) on all threads.
template <class Kernel>
void in_pieces(int64_t count, const Kernel& kernel) {
  at::parallel_for(0, count, 1 << 14,
                   [&](int64_t begin, int64_t end) { kernel(begin, end - begin); });
}

/// Runs kernel(row) over rows of `width` elements on all threads.
template <class Kernel>
void each_row(int64_t rows, int64_t width, const Kernel& kernel) {
  const int64_t grain = std::max<int64_t>(1, (1 << 14) / width);
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) kernel(row);
  });
}

}  // namespace wattle
