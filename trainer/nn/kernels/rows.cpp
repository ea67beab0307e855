#include "trainer/nn/kernels/rows.h"

#include <algorithm>
#include <cmath>

#include "trainer/nn/kernels/fast_math.h"

namespace wattle {
namespace {

/// Sums run in this many lanes, so that they vectorise and do not depend on the vector width.
constexpr int kLanes = 16;

/// The sum of term(i) over the row.
template <class Term>
WATTLE_INLINE float lane_sum(int64_t count, const Term& term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] += term(i + l);
  }
  float sum = 0;
  for (int l = 0; l < kLanes; ++l) sum += lanes[l];
  for (; i < count; ++i) sum += term(i);
  return sum;
}

WATTLE_INLINE float largest_of(const float* row, int64_t count) {
  float lanes[kLanes];
  for (int l = 0; l < kLanes; ++l) lanes[l] = row[0];
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] = row[i + l] > lanes[l] ? row[i + l] : lanes[l];
  }
  float largest = *std::max_element(lanes, lanes + kLanes);
  for (; i < count; ++i) largest = std::max(largest, row[i]);
  return largest;
}

/// Sums of floats stay short, their total is a double: vocabularies are long.
template <class Term>
WATTLE_INLINE double long_sum(int64_t count, const Term& term) {
  constexpr int64_t kBlock = 4096;
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    total += lane_sum(
        std::min(kBlock, count - begin), [&](int64_t i) __attribute__((always_inline)) {
          return term(begin + i);
        });
  }
  return total;
}

}  // namespace

WATTLE_FMA_CLONES SoftmaxSum exponentials(float* row, int64_t count) {
  const float largest = largest_of(row, count);
  for (int64_t i = 0; i < count; ++i) row[i] = fast_exp(row[i] - largest);
  return {largest, long_sum(
                       count, [&](int64_t i) __attribute__((always_inline)) { return row[i]; })};
}

WATTLE_FMA_CLONES SoftmaxSum exponential_sum(const float* row, int64_t count) {
  const float largest = largest_of(row, count);
  return {largest, long_sum(
                       count, [&](int64_t i) __attribute__((always_inline)) {
                         return fast_exp(row[i] - largest);
                       })};
}

WATTLE_FMA_CLONES void scale_row(float* row, float factor, int64_t count) {
  for (int64_t i = 0; i < count; ++i) row[i] *= factor;
}

WATTLE_FMA_CLONES float rms_norm_forward(const float* __restrict x, const float* __restrict weight,
                                         float* __restrict y, float eps, int64_t count) {
  const float squares = lane_sum(
      count, [&](int64_t i) __attribute__((always_inline)) { return x[i] * x[i]; });
  const float rstd = 1.0f / std::sqrt(squares / static_cast<float>(count) + eps);
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * rstd * weight[i];
  return rstd;
}

WATTLE_FMA_CLONES void rms_norm_backward(const float* __restrict x, const float* __restrict weight,
                                         const float* __restrict dy, float rstd,
                                         float* __restrict dx, float* __restrict dweight,
                                         int64_t count) {
  const float dot = lane_sum(
      count, [&](int64_t i) __attribute__((always_inline)) { return dy[i] * weight[i] * x[i]; });
  const float along = dot * rstd * rstd / static_cast<float>(count);
  for (int64_t i = 0; i < count; ++i) {
    dx[i] = rstd * (dy[i] * weight[i] - x[i] * along);
    dweight[i] += dy[i] * x[i] * rstd;
  }
}

}  // namespace wattle
