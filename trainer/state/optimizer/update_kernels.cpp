#include "trainer/state/optimizer/update_kernels.h"

#include <bit>
#include <cmath>

#include "common/clones.h"

// Compiled with -ffp-contract=off -fno-math-errno -fno-trapping-math (CMakeLists.txt): fused
// multiply-adds would make bits depend on the processor and on whether an element falls into a
// vector or into its loop's rest, and a std::sqrt that sets errno is not vectorised.

namespace wattle {
namespace {

WATTLE_INLINE float widened(float value) { return value; }
WATTLE_INLINE double widened(double value) { return value; }
WATTLE_INLINE float widened(Bfloat16Bits value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

/// Adam (Kingma and Ba 2015, arXiv:1412.6980) and AdamW (Loshchilov and Hutter 2019,
/// arXiv:1711.05101), in the order of operations of PyTorch's.
template <class Real, class Gradient>
WATTLE_INLINE void adam(Real* __restrict p, const Gradient* __restrict gradient, Real* __restrict m,
                        Real* __restrict v, int64_t n, const AdamConstants& c) {
  const Real beta2 = c.beta2, one_minus_beta1 = 1 - c.beta1, one_minus_beta2 = 1 - c.beta2;
  const Real eps = c.eps, step_size = c.step_size, second_correction = c.second_correction;
  const Real scale = c.gradient_scale, coupled = c.coupled_decay, kept = c.decoupled_factor;
  for (int64_t i = 0; i < n; ++i) {
    const Real decayed = p[i] * kept;
    const Real g = widened(gradient[i]) * scale + coupled * p[i];
    const Real first = m[i] + one_minus_beta1 * (g - m[i]);
    const Real second = beta2 * v[i] + one_minus_beta2 * (g * g);
    m[i] = first;
    v[i] = second;
    p[i] = decayed - step_size * first / (std::sqrt(second) / second_correction + eps);
  }
}

/// SGD with momentum, PyTorch's form: the velocity is a sum of gradients, not of updates.
template <class Real, class Gradient>
WATTLE_INLINE void sgd(Real* __restrict p, const Gradient* __restrict gradient,
                       Real* __restrict velocity, int64_t n, const SgdConstants& c) {
  const Real scale = c.gradient_scale, decay = c.weight_decay;
  const Real momentum = c.momentum, learning_rate = c.learning_rate;
  const Real own_share = c.nesterov ? 1 : 0, ahead = c.nesterov ? momentum : Real(1);
  for (int64_t i = 0; i < n; ++i) {
    const Real g = widened(gradient[i]) * scale + decay * p[i];
    const Real moved = momentum * velocity[i] + g;
    velocity[i] = moved;
    p[i] = p[i] - learning_rate * (own_share * g + ahead * moved);
  }
}

template <class Value>
WATTLE_INLINE double squares(const Value* values, int64_t n) {
  constexpr int64_t kLanes = 16;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double value = widened(values[i + lane]);
      lanes[lane] += value * value;
    }
  }
  for (int64_t lane = 0; i < n; ++i, ++lane) {
    const double value = widened(values[i]);
    lanes[lane] += value * value;
  }
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

WATTLE_CLONES void adam_update(float* p, const float* g, float* m, float* v, int64_t n,
                               const AdamConstants& c) {
  adam(p, g, m, v, n, c);
}
WATTLE_CLONES void adam_update(float* p, const Bfloat16Bits* g, float* m, float* v, int64_t n,
                               const AdamConstants& c) {
  adam(p, g, m, v, n, c);
}
WATTLE_CLONES void adam_update(double* p, const double* g, double* m, double* v, int64_t n,
                               const AdamConstants& c) {
  adam(p, g, m, v, n, c);
}

WATTLE_CLONES void sgd_update(float* p, const float* g, float* velocity, int64_t n,
                              const SgdConstants& c) {
  sgd(p, g, velocity, n, c);
}
WATTLE_CLONES void sgd_update(float* p, const Bfloat16Bits* g, float* velocity, int64_t n,
                              const SgdConstants& c) {
  sgd(p, g, velocity, n, c);
}
WATTLE_CLONES void sgd_update(double* p, const double* g, double* velocity, int64_t n,
                              const SgdConstants& c) {
  sgd(p, g, velocity, n, c);
}

WATTLE_CLONES double sum_of_squares(const float* values, int64_t n) { return squares(values, n); }
WATTLE_CLONES double sum_of_squares(const Bfloat16Bits* values, int64_t n) {
  return squares(values, n);
}
WATTLE_CLONES double sum_of_squares(const double* values, int64_t n) { return squares(values, n); }

}  // namespace wattle
