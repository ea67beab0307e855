#include "trainer/nn/kernels/elementwise.h"

#include "trainer/nn/kernels/fast_math.h"

namespace wattle {
namespace {

// gelu(x) = x * sigmoid(2u) with u = sqrt(2 / pi) * (x + 0.044715 x^3): the same as with tanh(u).
constexpr float kTwoRootTwoOverPi = 1.5957691216f;
constexpr float kCubic = 0.044715f;

}  // namespace

WATTLE_FMA_CLONES void gelu_forward(const float* __restrict x, float* __restrict y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float v = x[i];
    y[i] = v * fast_sigmoid(kTwoRootTwoOverPi * v * (1.0f + kCubic * v * v));
  }
}

WATTLE_FMA_CLONES void gelu_backward(const float* __restrict x, const float* dy, float* dx,
                                     int64_t count) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const float v = x[i];
    const float s = fast_sigmoid(kTwoRootTwoOverPi * v * (1.0f + kCubic * v * v));
    const float slope = kTwoRootTwoOverPi * (1.0f + 3.0f * kCubic * v * v);
    dx[i] = dy[i] * (s + v * s * (1.0f - s) * slope);
  }
}

WATTLE_FMA_CLONES void swiglu_forward(const float* __restrict gate, const float* __restrict up,
                                      float* __restrict y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = gate[i] * fast_sigmoid(gate[i]) * up[i];
}

WATTLE_FMA_CLONES void swiglu_backward(const float* __restrict gate, const float* __restrict up,
                                       const float* __restrict dy, float* __restrict dgate,
                                       float* __restrict dup, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float s = fast_sigmoid(gate[i]);
    dgate[i] = dy[i] * up[i] * (s + gate[i] * s * (1.0f - s));
    dup[i] = dy[i] * gate[i] * s;
  }
}

WATTLE_FMA_CLONES void rotate_pairs(float* __restrict first, float* __restrict second,
                                    const float* __restrict cosine, const float* __restrict sine,
                                    float sign, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float a = first[i], b = second[i], s = sign * sine[i];
    first[i] = a * cosine[i] - b * s;
    second[i] = b * cosine[i] + a * s;
  }
}

}  // namespace wattle
