#include "compression/quantize/learned_scales.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "compression/formats/grid_kernels.h"
#include "compression/formats/segments.h"
#include "compression/formats/weight_checks.h"

namespace wattle {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.99, kEps = 1e-12;
/// The largest change of a scale in one update: it must stay above 0.
constexpr double kLargestChange = 0.5;

/// Added in the ranks' order, so that all have the same bits.
void add_over_ranks(std::vector<double>& sums, Communicator& ranks) {
  const auto count = static_cast<int64_t>(sums.size());
  const at::Tensor mine = at::from_blob(sums.data(), {count}, at::kDouble);
  at::Tensor all = at::empty({ranks.size() * count}, at::kDouble);
  ranks.all_gather(mine, all);
  std::ranges::fill(sums, 0);
  const double* from = all.const_data_ptr<double>();
  for (int64_t i = 0; i < all.numel(); ++i) sums[i % count] += from[i];
}

}  // namespace

at::Tensor learn_scales_gradient(const GridFormatOptions& format, ScaleLearning learning,
                                 const at::Tensor& values, const at::Tensor& scale,
                                 at::Tensor& gradient, const WeightShard* shard) {
  const float* x = weight_data(values);
  float* g = mutable_weight(gradient);
  const Segments segments(values.numel(), segment_size(format, values.sizes()));
  const CodeRange codes = code_range(format);
  const auto low = static_cast<float>(codes.low), high = static_cast<float>(codes.high);
  std::vector<double> parts(segments.count * segments.pieces);
  segments.each_piece([&](int64_t piece, int64_t segment, int64_t first, int64_t count) {
    const float step = scale.const_data_ptr<float>()[segment];
    parts[piece] = scale_gradient(x + first, g + first, count, {step, 0, low, high},
                                  learning == ScaleLearning::kStep);
  });
  std::vector<double> sums = segments.joined_pieces(parts);
  int64_t whole = segments.size;
  if (shard != nullptr && shares_scales(*make_grid_format(format), values.sizes(), *shard)) {
    add_over_ranks(sums, *shard->ranks);
    whole = segment_size(format, whole_shape(values.sizes(), *shard));
  }
  at::Tensor result = at::empty({segments.count}, at::kFloat);
  const double factor = 1 / std::sqrt(static_cast<double>(whole) * high);
  std::ranges::transform(sums, result.mutable_data_ptr<float>(),
                         [&](double sum) { return static_cast<float>(sum * factor); });
  return result;
}

at::Tensor initial_step_size(const GridFormatOptions& format, const at::Tensor& values,
                             const WeightShard* shard) {
  // The ternary rule gives the mean magnitude.
  GridFormatOptions mean = format;
  mean.kind = GridFormatOptions::Kind::kTernary;
  const auto high = static_cast<double>(code_range(format).high);
  return make_grid_format(mean)->scales_of(values, shard).scale.mul_(2 / std::sqrt(high));
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
