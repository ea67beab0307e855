#include "compression/posttraining/gptq.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cholesky_inverse.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"

namespace wattle {
namespace {

at::Tensor cholesky_factor(const at::Tensor& matrix, bool upper) {
  const auto [factor, info] = at::linalg_cholesky_ex(matrix, upper, /*check_errors=*/false);
  if (info.item<int64_t>() == 0 && factor.isfinite().all().item<bool>()) return factor;
  throw Error(ErrorCode::kNonFinite,
              fmt::format("GPTQ: the Hessian of {} inputs has no Cholesky factor; more calibration "
                          "samples or a larger damping may help",
                          matrix.size(0)));
}

/// U with U^T U = (H + damping)^-1, upper triangular: row j holds, over U_jj, how an error in
/// column j is made up for by the columns after it, given that those before it are fixed.
at::Tensor error_factor(const at::Tensor& hessian, double damping) {
  at::Tensor damped = hessian.to(at::kDouble).clone();
  at::Tensor diagonal = damped.diagonal();
  diagonal.masked_fill_(diagonal.eq(0), 1.0);
  diagonal.add_(damping * diagonal.mean().item<double>());
  return cholesky_factor(at::cholesky_inverse(cholesky_factor(damped, false)), true);
}

}  // namespace

InputHessian::InputHessian(int64_t inputs, double magnitude)
    : sums_(at::zeros({inputs, inputs}, at::kDouble)),
      quantum_(magnitude > 0 ? std::exp2(std::ceil(std::log2(magnitude)) - 30) : 0) {}

void InputHessian::add(const at::Tensor& x, const std::string& product) {
  at::AutoGradMode no_grad(false);
  const at::Tensor rows = x.detach().reshape({-1, x.size(-1)}).to(at::kFloat);
  at::Tensor share = rows.t().mm(rows).to(at::kDouble);
  if (quantum_ > 0) share.div_(quantum_).round_().mul_(quantum_);
  sums_.add_(share);
  if (sums_.diagonal().isfinite().all().item<bool>()) return;
  throw Error(ErrorCode::kNonFinite,
              "calibration: " + product + ": its inputs hold NaN or infinite values");
}

at::Tensor gptq(const at::Tensor& weight, const at::Tensor& hessian, ColumnRounder& rounder,
                const GptqOptions& options) {
  at::AutoGradMode no_grad(false);
  const at::Tensor factor = error_factor(hessian, options.damping).to(at::kFloat);
  // Columns of the weight are rows here, so that each lies in one piece.
  at::Tensor rest = weight.detach().t().contiguous().clone();
  at::Tensor rounded = at::empty_like(rest);
  const int64_t columns = rest.size(0), segment = rounder.segment_columns();
  for (int64_t begin = 0; begin < columns; begin += options.block_columns) {
    const int64_t end = std::min(columns, begin + options.block_columns);
    at::Tensor errors = at::zeros({end - begin, rest.size(1)}, rest.options());
    for (int64_t j = begin; j < end; ++j) {
      if (j % segment == 0) {
        const int64_t last = std::min(columns, j + segment);
        // What earlier columns of this block leave of error has not gone beyond it yet.
        at::Tensor ahead = rest.narrow(0, j, last - j).clone();
        if (last > end && j > begin) {
          ahead.narrow(0, end - j, last - end)
              .sub_(factor.narrow(0, begin, j - begin)
                        .narrow(1, end, last - end)
                        .t()
                        .mm(errors.narrow(0, 0, j - begin)));
        }
        rounder.begin_segment(ahead.t().contiguous());
      }
      const at::Tensor column = rounder.round(rest[j], j % segment);
      rounded[j].copy_(column);
      at::Tensor error = errors[j - begin];
      error.copy_((rest[j] - column) / factor[j][j]);
      if (j + 1 == end) continue;
      rest.narrow(0, j + 1, end - j - 1)
          .sub_(factor[j].narrow(0, j + 1, end - j - 1).unsqueeze(1) * error);
    }
    if (end == columns) break;
    rest.narrow(0, end, columns - end)
        .sub_(factor.narrow(0, begin, end - begin).narrow(1, end, columns - end).t().mm(errors));
  }
  return rounded.t().contiguous();
}

}  // namespace wattle
