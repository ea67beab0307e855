#include "compression/quantize/learned_scales.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "compression/formats/grid_kernels.h"
#include "compression/formats/weight_checks.h"

namespace wattle {
namespace {

/// Sums are taken over pieces of so many values and joined in their order.
constexpr int64_t kPiece = 1 << 14;
constexpr double kBeta1 = 0.9, kBeta2 = 0.99, kEps = 1e-12;
/// The largest change of a scale in one update: it must stay above 0.
constexpr double kLargestChange = 0.5;

}  // namespace

at::Tensor learn_scales_gradient(const GridFormatOptions& format, ScaleLearning learning,
                                 const at::Tensor& values, const at::Tensor& scale,
                                 at::Tensor& gradient) {
  const float* x = weight_data(values);
  float* g = mutable_weight(gradient);
  const int64_t segment = segment_size(format, values.sizes());
  const int64_t segments = values.numel() / segment;
  const int64_t pieces = (segment + kPiece - 1) / kPiece;
  const CodeRange codes = code_range(format);
  const auto low = static_cast<float>(codes.low), high = static_cast<float>(codes.high);
  std::vector<double> sums(segments * pieces);
  at::parallel_for(0, segments * pieces, std::max<int64_t>(1, kPiece / segment),
                   [&](int64_t first, int64_t end) {
                     for (int64_t i = first; i < end; ++i) {
                       const int64_t within = i % pieces * kPiece;
                       const int64_t begin = i / pieces * segment + within;
                       const float step = scale.const_data_ptr<float>()[i / pieces];
                       sums[i] =
                           scale_gradient(x + begin, g + begin, std::min(kPiece, segment - within),
                                          {step, 0, low, high}, learning == ScaleLearning::kStep);
                     }
                   });
  at::Tensor result = at::zeros({segments}, at::kFloat);
  float* out = result.mutable_data_ptr<float>();
  const double factor = 1 / std::sqrt(static_cast<double>(segment) * high);
  for (int64_t i = 0; i < segments; ++i) {
    double sum = 0;
    for (int64_t piece = 0; piece < pieces; ++piece) sum += sums[i * pieces + piece];
    out[i] = static_cast<float>(sum * factor);
  }
  return result;
}

at::Tensor initial_step_size(const GridFormatOptions& format, const at::Tensor& values) {
  // The ternary rule gives the mean magnitude.
  GridFormatOptions mean = format;
  mean.kind = GridFormatOptions::Kind::kTernary;
  const auto high = static_cast<double>(code_range(format).high);
  return make_grid_format(mean)->scales_of(values).scale.mul_(2 / std::sqrt(high));
}

ScaleOptimizer::ScaleOptimizer(int64_t segments)
    : first_(at::zeros({segments}, at::kFloat)),
      second_(at::zeros({segments}, at::kFloat)),
      updates_(at::zeros({1}, at::kDouble)) {}

void ScaleOptimizer::update(const at::Tensor& gradient, double rate, at::Tensor& scale) {
  const float* g = gradient.const_data_ptr<float>();
  float* s = scale.mutable_data_ptr<float>();
  float* m = first_.mutable_data_ptr<float>();
  float* v = second_.mutable_data_ptr<float>();
  double& number = *updates_.mutable_data_ptr<double>();
  number += 1;
  const double correction1 = 1 - std::pow(kBeta1, number);
  const double correction2 = 1 - std::pow(kBeta2, number);
  for (int64_t i = 0; i < scale.numel(); ++i) {
    if (!std::isfinite(g[i])) continue;
    m[i] = static_cast<float>(kBeta1 * m[i] + (1 - kBeta1) * g[i]);
    v[i] = static_cast<float>(kBeta2 * v[i] + (1 - kBeta2) * g[i] * g[i]);
    const double change = rate * (m[i] / correction1) / (std::sqrt(v[i] / correction2) + kEps);
    s[i] = static_cast<float>(s[i] * (1 - std::clamp(change, -kLargestChange, kLargestChange)));
  }
}

std::vector<NamedTensor> ScaleOptimizer::state() const {
  return {{"exp_avg", first_}, {"exp_avg_sq", second_}, {"updates", updates_}};
}

}  // namespace wattle
