#include "compression/ranges/weight_ranges.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <span>
#include <vector>

#include "common/error.h"
#include "compression/calibration/clipping_search.h"
#include "compression/formats/grid_kernels.h"
#include "compression/formats/weight_checks.h"
#include "compression/ranges/weight_range_options.h"

namespace wattle {
namespace {

using Segment = std::span<const float>;

/// The value at or below which this share of them lies.
float quantile(std::vector<float>& values, double share) {
  const auto count = static_cast<int64_t>(values.size());
  const auto place = static_cast<int64_t>(std::ceil(share * static_cast<double>(count))) - 1;
  const auto nth = values.begin() + std::clamp<int64_t>(place, 0, count - 1);
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
  std::vector<float> rounded(segment.size());
  return least_costly_range(extremes, format.symmetric, [&](const ClipRange& range) {
    const SegmentGrid grid = grid_of_range(format, range.low, range.high);
    std::ranges::copy(segment, rounded.begin());
    round_to_integers(rounded.data(), static_cast<int64_t>(rounded.size()),
                      {grid.scale, grid.zero, low, high});
    double error = 0;
    for (size_t i = 0; i < rounded.size(); ++i) {
      const double difference = static_cast<double>(segment[i]) - rounded[i];
      error += difference * difference;
    }
    return error;
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
                         Segment segment, const ClipRange& extremes, const SegmentGrid* before) {
  switch (observer.kind) {
    case ObserverKind::kMinMax:
      return extremes;
    case ObserverKind::kMovingAverage:
      return before ? moved(format, *before, extremes, observer.momentum) : extremes;
    case ObserverKind::kPercentile:
      return quantiles_of(segment, format.symmetric, observer.percentile / 100);
    case ObserverKind::kHistogram:
      return least_loss_of(segment, format);
    case ObserverKind::kLeastSquares:
      return least_squares_of(segment, format, extremes);
  }
  throw Error(ErrorCode::kInternal, "unknown kind of observer");
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
                             const at::Tensor& values, const WeightScales* before) {
  const float* x = weight_data(values);
  const int64_t size = segment_size(format, values.sizes());
  const int64_t segments = values.numel() / size;
  check(format, before, segments);
  WeightScales scales{at::empty({segments}, at::kFloat), {}};
  if (!format.symmetric) scales.zero_point = at::empty({segments}, at::kInt);
  std::atomic<int64_t> broken = -1;
  at::parallel_for(
      0, segments, std::max<int64_t>(1, (1 << 12) / size), [&](int64_t i, int64_t end) {
        for (; i < end; ++i) {
          const Segment segment(x + i * size, static_cast<size_t>(size));
          const ValueRange seen = range_of_values(segment.data(), size);
          if (!seen.finite) {
            broken = i;
            continue;
          }
          const float most = std::max(-seen.smallest, seen.largest);
          const ClipRange extremes =
              format.symmetric ? ClipRange{-most, most} : ClipRange{seen.smallest, seen.largest};
          const SegmentGrid last = before ? grid_at(*before, i) : SegmentGrid();
          const ClipRange range =
              observed_range(format, observer, segment, extremes, before ? &last : nullptr);
          const SegmentGrid grid = grid_of_range(format, range.low, range.high);
          scales.scale.mutable_data_ptr<float>()[i] = grid.scale;
          if (format.symmetric) continue;
          scales.zero_point.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(grid.zero);
        }
      });
  if (broken < 0) return scales;
  throw Error(ErrorCode::kNonFinite, fmt::format("elements {} to {}: one is not finite",
                                                 broken * size, (broken + 1) * size - 1));
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
