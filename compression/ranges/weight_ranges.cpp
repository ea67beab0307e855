#include "compression/ranges/weight_ranges.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "common/error.h"
#include "compression/calibration/clipping_search.h"
#include "compression/formats/grid_kernels.h"
#include "compression/formats/segments.h"
#include "compression/formats/weight_checks.h"
#include "compression/ranges/shared_ranges.h"
#include "compression/ranges/weight_range_options.h"

namespace wattle {
namespace {

using Segment = std::span<const float>;

/// The value at or below which this share of them lies.
float quantile(std::vector<float>& values, double share) {
  const auto nth = values.begin() + quantile_place(static_cast<int64_t>(values.size()), share);
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

ClipRange quantiles_of(Segment segment, bool symmetric, double share) {
  std::vector<float> values(segment.begin(), segment.end());
  if (symmetric) {
    for (float& value : values) value = std::fabs(value);
    const float most = quantile(values, share);
    return {-most, most};
  }
  const float high = quantile(values, share);
  for (float& value : values) value = -value;
  return {std::min(0.0f, -quantile(values, share)), std::max(0.0f, high)};
}

ClipRange least_squares_of(Segment segment, const GridFormatOptions& format,
                           const ClipRange& extremes) {
  const CodeRange codes = code_range(format);
  const auto low = static_cast<float>(codes.low), high = static_cast<float>(codes.high);
  return least_costly_range(extremes, format.symmetric, [&](const ClipRange& range) {
    const SegmentGrid grid = grid_of_range(format, range.low, range.high);
    const double step = squared_error_step(format, grid, extremes);
    int64_t error = 0;
    for (size_t i = 0; i < segment.size(); i += kPieceValues) {
      const auto count = std::min<int64_t>(kPieceValues, static_cast<int64_t>(segment.size() - i));
      error += squared_errors_in_steps(segment.data() + i, count,
                                       {grid.scale, grid.zero, low, high}, step);
    }
    return static_cast<double>(error) * step;
  });
}

ClipRange least_loss_of(Segment segment, const GridFormatOptions& format) {
  RangeStatistics seen(/*with_histogram=*/true);
  seen.add(at::from_blob(const_cast<float*>(segment.data()), {static_cast<int64_t>(segment.size())},
                         at::kFloat),
           "a weight");
  return least_information_loss_range(seen, {static_cast<int>(format.bits), format.symmetric});
}

ClipRange moved(const GridFormatOptions& format, const SegmentGrid& before, const ClipRange& now,
                double momentum) {
  const auto [low, high] = range_of_grid(format, before);
  return {static_cast<float>(low + momentum * (now.low - low)),
          static_cast<float>(high + momentum * (now.high - high))};
}

/// What the observer sees in a segment; `extremes` with 0 between them.
ClipRange observed_range(const GridFormatOptions& format, const ObserverOptions& observer,
                         Segment segment, const ClipRange& extremes) {
  switch (observer.kind) {
    case ObserverKind::kMinMax:
    case ObserverKind::kMovingAverage:
      return extremes;
    case ObserverKind::kPercentile:
      return quantiles_of(segment, format.symmetric, observer.percentile / 100);
    case ObserverKind::kHistogram:
      return least_loss_of(segment, format);
    case ObserverKind::kLeastSquares:
      return least_squares_of(segment, format, extremes);
  }
  throw Error(ErrorCode::kInternal, "unknown kind of observer");
}

/// The same in all segments, of which other ranks hold parts.
std::vector<ClipRange> shared_ranges(const GridFormatOptions& format,
                                     const ObserverOptions& observer, const at::Tensor& values,
                                     const std::vector<ClipRange>& extremes,
                                     const WeightShard& shard) {
  const int64_t size = segment_size(format, values.sizes());
  const int64_t whole = segment_size(format, whole_shape(values.sizes(), shard));
  switch (observer.kind) {
    case ObserverKind::kMinMax:
    case ObserverKind::kMovingAverage:
      return extremes;
    case ObserverKind::kPercentile:
      return shared_quantiles(values, size, whole, format.symmetric, observer.percentile / 100,
                              *shard.ranks);
    case ObserverKind::kHistogram:
      return shared_least_losses(values, size, format, *shard.ranks);
    case ObserverKind::kLeastSquares:
      return shared_least_squares(values, size, format, extremes, *shard.ranks);
  }
  throw Error(ErrorCode::kInternal, "unknown kind of observer");
}

std::vector<ClipRange> ranges_of(const GridFormatOptions& format, const ObserverOptions& observer,
                                 const at::Tensor& values, const std::vector<ClipRange>& extremes) {
  const float* x = weight_data(values);
  const int64_t size = segment_size(format, values.sizes());
  const auto segments = static_cast<int64_t>(extremes.size());
  std::vector<ClipRange> ranges(segments);
  at::parallel_for(
      0, segments, std::max<int64_t>(1, (1 << 12) / size), [&](int64_t i, int64_t end) {
        for (; i < end; ++i) {
          ranges[i] = observed_range(format, observer,
                                     Segment(x + i * size, static_cast<size_t>(size)), extremes[i]);
        }
      });
  return ranges;
}

SegmentGrid grid_at(const WeightScales& scales, int64_t i) {
  SegmentGrid grid{scales.scale.const_data_ptr<float>()[i], 0};
  if (scales.zero_point.defined()) {
    grid.zero = static_cast<float>(scales.zero_point.const_data_ptr<int32_t>()[i]);
  }
  return grid;
}

void check(const GridFormatOptions& format, const WeightScales* before, int64_t segments) {
  if (format.kind != GridFormatOptions::Kind::kInteger) {
    throw Error(ErrorCode::kInternal,
                grid_format_name(format) + " has no integers whose range could be observed");
  }
  if (before == nullptr || before->scale.numel() == segments) return;
  throw Error(ErrorCode::kInternal, fmt::format("observed {} scales before, {} segments now",
                                                before->scale.numel(), segments));
}

}  // namespace

WeightScales observed_scales(const GridFormatOptions& format, const ObserverOptions& observer,
                             const at::Tensor& values, const WeightScales* before,
                             const WeightShard* shard) {
  const int64_t size = segment_size(format, values.sizes());
  const int64_t segments = values.numel() / size;
  check(format, before, segments);
  const bool shared =
      shard != nullptr && shares_scales(*make_grid_format(format), values.sizes(), *shard);
  std::vector<ClipRange> extremes;
  for (const ValueRange& seen : ranges_of_segments(values, size, shared ? shard->ranks : nullptr)) {
    const float most = std::max(-seen.smallest, seen.largest);
    extremes.push_back(format.symmetric ? ClipRange{-most, most}
                                        : ClipRange{seen.smallest, seen.largest});
  }
  const std::vector<ClipRange> ranges =
      shared ? shared_ranges(format, observer, values, extremes, *shard)
             : ranges_of(format, observer, values, extremes);
  WeightScales scales{at::empty({segments}, at::kFloat), {}};
  if (!format.symmetric) scales.zero_point = at::empty({segments}, at::kInt);
  const bool moves = before != nullptr && observer.kind == ObserverKind::kMovingAverage;
  for (int64_t i = 0; i < segments; ++i) {
    const ClipRange range =
        moves ? moved(format, grid_at(*before, i), ranges[i], observer.momentum) : ranges[i];
    const SegmentGrid grid = grid_of_range(format, range.low, range.high);
    scales.scale.mutable_data_ptr<float>()[i] = grid.scale;
    if (format.symmetric) continue;
    scales.zero_point.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(grid.zero);
  }
  return scales;
}

std::optional<WeightScales> first_scales(const WeightFormat& format,
                                         const std::optional<ObserverOptions>& observer,
                                         const at::Tensor& values) {
  const GridFormatOptions* grid = format.grid();
  if (!observer || !grid || grid->kind != GridFormatOptions::Kind::kInteger) return std::nullopt;
  return observed_scales(*grid, *observer, values, nullptr);
}

bool try_to_round(const WeightFormat& format, const std::optional<ObserverOptions>& observer,
                  at::Tensor& values) {
  try {
    const auto scales = first_scales(format, observer, values);
    format.fake_quantise(values, scales ? &*scales : nullptr);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNonFinite) throw;
    return false;
  }
  return values.isfinite().all().item<bool>();
}

void WeightRangeOptions::describe(Fields& f) {
  f.choice("observer", observer.kind, observer_kinds(),
           "the extremes, a moving average of them, all but the rarest values, the least loss of "
           "information, the least squared error; of the values that share a scale");
  f("every", every, "steps from one look to the next; scales stay as they are between them")
      .at_least(1)
      .unit("steps");
  f("momentum", observer.momentum, "of ema: weight of a new look").greater_than(0).at_most(1);
  f("percentile", observer.percentile, "of percentile: values that are not clipped")
      .greater_than(50)
      .at_most(100)
      .unit("%");
}

}  // namespace wattle
