#pragma once

#include <cstdint>

namespace wattle {

/// Constants of one Adam update over elements that share a weight decay.
struct AdamConstants {
  double beta1, beta2, eps;
  double step_size;          ///< learning rate / (1 - beta1^t)
  double second_correction;  ///< sqrt(1 - beta2^t)
  double gradient_scale;
  double coupled_decay;     ///< added to the gradient, times the parameter (Adam)
  double decoupled_factor;  ///< the parameter is multiplied with it first (AdamW)
};

struct SgdConstants {
  double learning_rate, momentum, gradient_scale, weight_decay;
  bool nesterov;
};

/// bfloat16 as it lies in memory.
enum class Bfloat16Bits : uint16_t {};

/// Elementwise over n elements of non-overlapping arrays; plain IEEE operations in the master's
/// type without contraction, so that every build and vector width gives the same bits.
void adam_update(float* master, const float* gradient, float* first, float* second, int64_t n,
                 const AdamConstants& c);
void adam_update(float* master, const Bfloat16Bits* gradient, float* first, float* second,
                 int64_t n, const AdamConstants& c);
void adam_update(double* master, const double* gradient, double* first, double* second, int64_t n,
                 const AdamConstants& c);

void sgd_update(float* master, const float* gradient, float* velocity, int64_t n,
                const SgdConstants& c);
void sgd_update(float* master, const Bfloat16Bits* gradient, float* velocity, int64_t n,
                const SgdConstants& c);
void sgd_update(double* master, const double* gradient, double* velocity, int64_t n,
                const SgdConstants& c);

/// The sum of squares in float64, over 16 running sums that are added in a fixed order.
double sum_of_squares(const float* values, int64_t n);
double sum_of_squares(const Bfloat16Bits* values, int64_t n);
double sum_of_squares(const double* values, int64_t n);

}  // namespace wattle
