#pragma once

#include <cstdint>

namespace wattle {

// float32 kernels over contiguous memory, one thread.

/// y = gelu(x), tanh approximation.
void gelu_forward(const float* x, float* y, int64_t count);
/// dx = dy * gelu'(x). `dx` may be `dy`.
void gelu_backward(const float* x, const float* dy, float* dx, int64_t count);

/// y = silu(gate) * up.
void swiglu_forward(const float* gate, const float* up, float* y, int64_t count);
/// The gradients of both.
void swiglu_backward(const float* gate, const float* up, const float* dy, float* dgate, float* dup,
                     int64_t count);

/// Turns the pairs (first[i], second[i]) by the angles with these cosines and sines.
void rotate_pairs(float* first, float* second, const float* cosine, const float* sine, float sign,
                  int64_t count);

}  // namespace wattle
