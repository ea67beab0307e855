#pragma once

#include <cstdint>

namespace wattle {

// float32 kernels over one contiguous row, one thread.

/// Where a row's softmax stands: its largest logit and the sum of exp(logit - largest).
struct SoftmaxSum {
  float largest;
  double sum;
};

/// Replaces the row by exp(logit - largest).
SoftmaxSum exponentials(float* row, int64_t count);
/// The sum alone; the row stays.
SoftmaxSum exponential_sum(const float* row, int64_t count);
void scale_row(float* row, float factor, int64_t count);

/// y = x * weight / rms, rms = sqrt(mean(x^2) + eps). Returns 1 / rms.
float rms_norm_forward(const float* x, const float* weight, float* y, float eps, int64_t count);
/// dx of that, and dweight += dy * x / rms.
void rms_norm_backward(const float* x, const float* weight, const float* dy, float rstd, float* dx,
                       float* dweight, int64_t count);

}  // namespace wattle
