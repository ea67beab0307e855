#include "trainer/nn/objectives/softmax_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "common/error.h"
#include "trainer/nn/kernels/parallel_rows.h"
#include "trainer/nn/kernels/rows.h"

namespace wattle {

int64_t count_scored(const at::Tensor& targets) { return targets.ne(-1).sum().item<int64_t>(); }

void check_classes(const at::Tensor& targets, int64_t classes) {
  if (targets.numel() == 0) return;
  const int64_t least = targets.min().item<int64_t>(), most = targets.max().item<int64_t>();
  if (least >= -1 && most < classes) return;
  throw Error(ErrorCode::kFormat,
              fmt::format("a target is {}, expected 0 to {}, or -1 where nothing is scored",
                          least < -1 ? least : most, classes - 1));
}

namespace {

double by_tensors(at::Tensor& logits, const at::Tensor& targets,
                  std::optional<double> gradient_scale) {
  const at::ScalarType type = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor scored = targets.ne(-1).to(type).unsqueeze(1);
  const at::Tensor column = targets.clamp_min(0).unsqueeze(1);
  at::Tensor log_probability = at::log_softmax(logits, 1, type);
  const double total =
      -(log_probability.gather(1, column) * scored).sum(at::kDouble).item<double>();
  if (gradient_scale) {
    at::Tensor gradient = log_probability.exp_();
    gradient.scatter_add_(1, column, -scored);
    logits.copy_(gradient.mul_(scored * *gradient_scale));
  }
  return total;
}

/// -log softmax of the wanted class, in float32 rows; 0 for a row that is not scored.
double row_loss(float* row, int64_t classes, int64_t wanted, std::optional<double> scale) {
  if (wanted == -1) {
    if (scale) std::fill(row, row + classes, 0.0f);
    return 0;
  }
  const float logit = row[wanted];
  const SoftmaxSum softmax = scale ? exponentials(row, classes) : exponential_sum(row, classes);
  if (scale) {
    scale_row(row, static_cast<float>(*scale / softmax.sum), classes);
    row[wanted] -= static_cast<float>(*scale);
  }
  return std::log(softmax.sum) - (static_cast<double>(logit) - softmax.largest);
}

double by_kernels(at::Tensor& logits, const at::Tensor& targets, std::optional<double> scale) {
  const int64_t rows = logits.size(0), classes = logits.size(1);
  const at::Tensor wanted = targets.contiguous();
  float* at_logits = logits.mutable_data_ptr<float>();
  const int64_t* at_wanted = wanted.const_data_ptr<int64_t>();
  std::vector<double> losses(static_cast<size_t>(rows));
  each_row(rows, classes, [&](int64_t row) {
    losses[static_cast<size_t>(row)] =
        row_loss(at_logits + row * classes, classes, at_wanted[row], scale);
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace

double softmax_loss_(at::Tensor& logits, const at::Tensor& targets,
                     std::optional<double> gradient_scale) {
  check_classes(targets, logits.size(1));
  return fits_kernels(logits) ? by_kernels(logits, targets, gradient_scale)
                              : by_tensors(logits, targets, gradient_scale);
}

}  // namespace wattle
