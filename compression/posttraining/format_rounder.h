#pragma once

#include <memory>
#include <optional>

#include "compression/calibration/range_observer.h"
#include "compression/formats/weight_format.h"
#include "compression/posttraining/gptq.h"

namespace wattle {

/// Rounds a weight's columns to the grids that a format gives each segment when it begins.
///
/// What the rounded weight holds is what the format's own rounding leaves of it: with the scales
/// that this returns where the format takes scales, else with those that follow from the values. To
/// that end the values of a block that its scale follows from keep their codes: of ggml's types the
/// largest magnitude, of Q4_1 the smallest and the largest value.
class FormatRounder : public ColumnRounder {
 public:
  /// Of all segments that were begun, in the order of a weight's; none where they follow.
  virtual std::optional<WeightScales> scales() const = 0;
};

/// Whether a format's scales can be kept while its columns are rounded one after the other: Q6_K's
/// are searched over all values of a block, and each rounding finds others.
bool rounds_by_columns(const WeightFormat& format);

/// For a weight [rows, columns] that the format holds, whose scales an observer gives, if there is
/// one, as first_scales() does; Error(kInternal) if it can't be rounded so.
std::unique_ptr<FormatRounder> make_format_rounder(
    const WeightFormat& format, const at::Tensor& weight,
    const std::optional<ObserverOptions>& observer = {});

/// What GPTQ makes of a weight.
struct GptqWeight {
  at::Tensor values;
  std::optional<WeightScales> scales;  ///< where the format takes scales
};

/// gptq() with the format's grids; but a row that rounding to the nearest leaves nearer to its
/// product, over the inputs behind the Hessian, gets that: no row is further off. Throws as it
/// does, and Error(kInternal) if the format would round the result once more.
GptqWeight gptq_rounded(const WeightFormat& format, const at::Tensor& weight,
                        const at::Tensor& hessian, const GptqOptions& options,
                        const std::optional<ObserverOptions>& observer = {});

}  // namespace wattle
