#include "compression/formats/values_refusal.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <fmt/format.h>

#include "common/error.h"
#include "compression/formats/grid_format.h"

namespace wattle {
namespace {

/// Whether finite values become finite values.
bool is_rounded(const WeightFormat& format, const at::Tensor& values) {
  at::Tensor rounded = at::empty_like(values);
  try {
    format.round(values, nullptr, rounded);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNonFinite) throw;
    return false;
  }
  return rounded.isfinite().all().item<bool>();
}

}  // namespace

std::string non_finite_refusal(const at::Tensor& values) {
  const at::Tensor broken = values.isfinite().logical_not_().flatten();
  if (!broken.any().item<bool>()) return "";
  const int64_t at = broken.to(at::kByte).argmax().item<int64_t>();
  const int64_t row = values.dim() > 1 ? values.numel() / values.size(0) : values.numel();
  return fmt::format("row {}, element {} is {}, expected a finite weight", at / row, at % row,
                     values.flatten()[at].item<double>());
}

std::string values_refusal(const WeightFormat& format, const at::Tensor& values) {
  const std::string refusal = non_finite_refusal(values);
  if (!refusal.empty() || is_rounded(format, values)) return refusal;
  const std::optional<DType> type = format.block_type();
  const int64_t segment =
      type ? traits_of(*type).block_elements : segment_size(*format.grid(), values.sizes());
  const at::Tensor segments = values.view({-1, 1, segment});
  int64_t broken = 0;
  while (is_rounded(format, segments[broken])) ++broken;
  const int64_t row = values.numel() / values.size(0), first = broken * segment;
  const at::Tensor magnitudes = segments[broken].abs().flatten();
  const int64_t largest = magnitudes.argmax().item<int64_t>();
  return fmt::format(
      "row {}, elements {} to {}: the largest magnitude is {:g}, of element {}, which makes a "
      "scale or a minimum beyond {}",
      first / row, first % row, first % row + segment - 1, magnitudes[largest].item<double>(),
      first % row + largest, type ? "65504, the largest of f16" : "the largest of float32");
}

}  // namespace wattle
