#include "trainer/state/gradient_norm.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "trainer/state/optimizer/update_kernels.h"

namespace wattle {
namespace {

int64_t blocks_of(int64_t numel) {
  return (numel + GradientMeter::kBlock - 1) / GradientMeter::kBlock;
}

template <class Value>
void sum_blocks(const Value* values, int64_t numel, double* sums) {
  at::parallel_for(0, blocks_of(numel), 2, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * GradientMeter::kBlock;
      sums[block] = sum_of_squares(values + first, std::min(GradientMeter::kBlock, numel - first));
    }
  });
}

void sum_blocks_on_device(const at::Tensor& gradients, at::Tensor& sums) {
  const int64_t whole = gradients.numel() / GradientMeter::kBlock;
  const int64_t covered = whole * GradientMeter::kBlock;
  const auto squares = [](const at::Tensor& blocks) {
    return at::linalg_vector_norm(blocks, 2, {1}, false, at::kDouble).square();
  };
  sums.narrow(0, 0, whole)
      .copy_(squares(gradients.narrow(0, 0, covered).view({whole, GradientMeter::kBlock})));
  if (covered < gradients.numel()) {
    sums.narrow(0, whole, 1)
        .copy_(squares(gradients.narrow(0, covered, gradients.numel() - covered).view({1, -1})));
  }
}

}  // namespace

GradientMeter::GradientMeter(int64_t numel) : sums_(at::zeros({blocks_of(numel)}, at::kDouble)) {}

GradientNorm GradientMeter::measure(const at::Tensor& gradients) {
  return combine(block_sums(gradients));
}

at::Tensor GradientMeter::block_sums(const at::Tensor& gradients) {
  const at::NoGradGuard no_grad;
  const int64_t numel = gradients.numel();
  at::Tensor sums = sums_.narrow(0, 0, blocks_of(numel));
  if (!gradients.is_cpu()) {
    sum_blocks_on_device(gradients, sums);
    return sums;
  }
  double* out = sums.mutable_data_ptr<double>();
  switch (gradients.scalar_type()) {
    case at::kFloat:
      sum_blocks(gradients.const_data_ptr<float>(), numel, out);
      break;
    case at::kDouble:
      sum_blocks(gradients.const_data_ptr<double>(), numel, out);
      break;
    case at::kBFloat16:
      sum_blocks(static_cast<const Bfloat16Bits*>(gradients.const_data_ptr()), numel, out);
      break;
    default:
      throw Error(ErrorCode::kInternal, std::string("gradient norm: no gradients are of type ") +
                                            c10::toString(gradients.scalar_type()));
  }
  return sums;
}

GradientNorm GradientMeter::combine(const at::Tensor& block_sums) {
  const double* sums = block_sums.const_data_ptr<double>();
  double sum = 0;
  for (int64_t block = 0; block < block_sums.numel(); ++block) sum += sums[block];
  return {std::sqrt(sum), std::isfinite(sum)};
}

double clip_scale(double norm, double max_norm) { return std::min(1.0, max_norm / (norm + 1e-6)); }

}  // namespace wattle
