#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace wattle {

/// Sums X^T X over the inputs of one product, in float64: what GPTQ weighs errors with. Sums of
/// ranks or batches add up.
class InputHessian {
 public:
  /// Each batch's share is rounded to a multiple of a power of two that is 2^30 times smaller than
  /// `magnitude`, the largest sum of squares of one input that a batch has, or thereabouts: sums
  /// are then exact, and the same in any order, as long as they stay below 2^22 magnitudes. 0: they
  /// are not rounded.
  explicit InputHessian(int64_t inputs, double magnitude = 0);

  /// x [..., inputs]. Throws Error(kNonFinite) naming `product` if the sums are no longer finite.
  void add(const at::Tensor& x, const std::string& product);

  /// [inputs, inputs] float64.
  at::Tensor& sums() { return sums_; }
  const at::Tensor& sums() const { return sums_; }

 private:
  at::Tensor sums_;
  double quantum_ = 0;
};

/// Rounds a weight column by column; a row's columns of one segment share a grid.
class ColumnRounder {
 public:
  virtual ~ColumnRounder() = default;
  virtual int64_t segment_columns() const = 0;
  /// Fixes the grids of the next segment from its weights, [rows, segment_columns].
  virtual void begin_segment(const at::Tensor& columns) = 0;
  /// The values of the grids next to a column [rows], which is column `index` of that segment.
  virtual at::Tensor round(const at::Tensor& column, int64_t index) const = 0;
};

struct GptqOptions {
  double damping = 0.01;        ///< added to the diagonal, as a share of its mean
  int64_t block_columns = 128;  ///< whose errors reach the columns after them in one product
};

/// GPTQ (Frantar et al. 2022, arXiv:2210.17323): rounds the columns of `weight` [rows, inputs] one
/// after the other and moves what each leaves of error into the columns that are still to come, so
/// that the error of the product over the inputs behind `hessian` [inputs, inputs] is small. A grid
/// is fixed when its segment begins, from the weights as they are then. An input that was always 0
/// takes no error. With a diagonal Hessian it is plain rounding. Returns the rounded weight; throws
/// Error(kNonFinite) if the Hessian has no Cholesky factor.
at::Tensor gptq(const at::Tensor& weight, const at::Tensor& hessian, ColumnRounder& rounder,
                const GptqOptions& options = {});

}  // namespace wattle
