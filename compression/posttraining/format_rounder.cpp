#include "compression/posttraining/format_rounder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/max.h>
#include <ATen/ops/min.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <c10/core/GradMode.h>

#include <vector>

#include "common/error.h"
#include "compression/formats/grid_format.h"
#include "compression/ranges/weight_ranges.h"

namespace wattle {
namespace {

/// Values beyond a block's extremes are held just within them, so that they don't become the values
/// that its scale follows from.
constexpr float kWithin = 1 - 1e-6f;

/// A block of a ggml type, rounded by the type itself: one column at a time is put between the
/// other values of its block as they were when it began, which carry the scale.
class BlockRounder : public FormatRounder {
 public:
  BlockRounder(const WeightFormat& format, int64_t columns) : format_(format), columns_(columns) {}

  int64_t segment_columns() const override { return columns_; }

  void begin_segment(const at::Tensor& columns) override {
    block_ = columns.clone();
    const at::Tensor magnitudes = block_.abs();
    bound_ = magnitudes.amax(1) * kWithin;
    smallest_ = block_.amin(1);
    largest_ = block_.amax(1);
    if (format_.name() == "gguf:q4_1") {
      carries_ = block_.eq(smallest_.unsqueeze(1)).logical_or(block_.eq(largest_.unsqueeze(1)));
    } else {
      carries_ = magnitudes.eq(magnitudes.amax(1, true));
    }
  }

  at::Tensor round(const at::Tensor& column, int64_t index) const override {
    at::Tensor block = block_.clone();
    const bool has_minimum = format_.name() == "gguf:q4_1";
    const at::Tensor low = has_minimum ? smallest_ : -bound_;
    const at::Tensor high = has_minimum ? largest_ : bound_;
    block.select(1, index).copy_(at::where(carries_.select(1, index), block_.select(1, index),
                                           at::min(at::max(column, low), high)));
    format_.fake_quantise(block);
    return block.select(1, index).clone();
  }

  std::optional<WeightScales> scales() const override { return std::nullopt; }

 private:
  const WeightFormat& format_;
  int64_t columns_;
  at::Tensor block_, carries_, bound_, smallest_, largest_;
};

WeightScales scales_by(const WeightFormat& format, const std::optional<ObserverOptions>& observer,
                       const at::Tensor& values) {
  auto scales = first_scales(format, observer, values);
  return scales ? std::move(*scales) : format.scales_of(values);
}

/// Codes with scales beside them: a column is rounded with the scales of its segment.
class GridRounder : public FormatRounder {
 public:
  GridRounder(GridFormatOptions options, const at::Tensor& weight,
              const std::optional<ObserverOptions>& observer)
      : columns_(options.sharing == ScaleSharing::kGroup ? options.group_size : weight.size(1)),
        observer_(observer) {
    const bool whole = options.sharing == ScaleSharing::kTensor;
    if (!whole) options.sharing = ScaleSharing::kChannel;
    format_ = make_grid_format(options);
    if (whole) of_all_ = scales_by(*format_, observer_, weight);
  }

  int64_t segment_columns() const override { return columns_; }

  void begin_segment(const at::Tensor& columns) override {
    segments_.push_back(of_all_ ? *of_all_ : scales_by(*format_, observer_, columns));
  }

  at::Tensor round(const at::Tensor& column, int64_t /*index*/) const override {
    at::Tensor values = column.unsqueeze(1).clone();
    format_->fake_quantise(values, &segments_.back());
    return values.squeeze(1);
  }

  std::optional<WeightScales> scales() const override {
    if (of_all_) return of_all_;
    std::vector<at::Tensor> scales, zero_points;
    for (const WeightScales& segment : segments_) {
      scales.push_back(segment.scale);
      if (segment.zero_point.defined()) zero_points.push_back(segment.zero_point);
    }
    WeightScales all{at::stack(scales, 1).flatten().contiguous(), {}};
    if (!zero_points.empty()) all.zero_point = at::stack(zero_points, 1).flatten().contiguous();
    return all;
  }

 private:
  int64_t columns_;
  std::optional<ObserverOptions> observer_;
  std::shared_ptr<const WeightFormat> format_;
  std::optional<WeightScales> of_all_;
  std::vector<WeightScales> segments_;
};

}  // namespace

bool rounds_by_columns(const WeightFormat& format) { return format.block_type() != DType::kQ6_K; }

std::unique_ptr<FormatRounder> make_format_rounder(const WeightFormat& format,
                                                   const at::Tensor& weight,
                                                   const std::optional<ObserverOptions>& observer) {
  if (!rounds_by_columns(format)) {
    throw Error(ErrorCode::kInternal, format.name() + " can't be rounded column by column");
  }
  if (const GridFormatOptions* grid = format.grid()) {
    return std::make_unique<GridRounder>(*grid, weight, observer);
  }
  return std::make_unique<BlockRounder>(format, traits_of(*format.block_type()).block_elements);
}

namespace {

/// Of each row, tr(d H d^T): the squared error of its product over the inputs behind H.
at::Tensor row_errors(const at::Tensor& weight, const at::Tensor& rounded,
                      const at::Tensor& hessian) {
  const at::Tensor difference = (weight - rounded).to(at::kDouble);
  return (difference.mm(hessian) * difference).sum(1);
}

/// Rows, or the segments of each row, of one where `worse` is true, else of the other.
at::Tensor picked(const at::Tensor& worse, const at::Tensor& one, const at::Tensor& other) {
  const int64_t rows = worse.size(0);
  if (one.numel() < rows) return other;  // one scale for all rows is the same in both
  return at::where(worse.unsqueeze(1), one.view({rows, -1}), other.view({rows, -1}))
      .view(one.sizes())
      .contiguous();
}

/// GPTQ is greedy: it may leave a row further off than rounding to the nearest does, which that row
/// then gets.
void keep_better_rows(const WeightFormat& format, const at::Tensor& weight,
                      const at::Tensor& hessian, const std::optional<ObserverOptions>& observer,
                      GptqWeight& rounded) {
  GptqWeight nearest{weight.detach().clone(), {}};
  if (rounded.scales) nearest.scales = scales_by(format, observer, weight);
  format.fake_quantise(nearest.values, nearest.scales ? &*nearest.scales : nullptr);
  const at::Tensor worse =
      row_errors(weight, rounded.values, hessian).gt(row_errors(weight, nearest.values, hessian));
  if (!worse.any().item<bool>()) return;
  rounded.values = picked(worse, nearest.values, rounded.values);
  if (!rounded.scales) return;
  rounded.scales->scale = picked(worse, nearest.scales->scale, rounded.scales->scale);
  if (!rounded.scales->zero_point.defined()) return;
  rounded.scales->zero_point =
      picked(worse, nearest.scales->zero_point, rounded.scales->zero_point);
}

}  // namespace

GptqWeight gptq_rounded(const WeightFormat& format, const at::Tensor& weight,
                        const at::Tensor& hessian, const GptqOptions& options,
                        const std::optional<ObserverOptions>& observer) {
  const at::AutoGradMode no_grad(false);
  const auto rounder = make_format_rounder(format, weight, observer);
  GptqWeight result{gptq(weight, hessian, *rounder, options), rounder->scales()};
  keep_better_rows(format, weight, hessian, observer, result);
  at::Tensor again = result.values.clone();
  format.fake_quantise(again, result.scales ? &*result.scales : nullptr);
  if (!at::equal(again, result.values)) {
    throw Error(ErrorCode::kInternal,
                "GPTQ left values that " + format.name() + " would round once more");
  }
  return result;
}

}  // namespace wattle
