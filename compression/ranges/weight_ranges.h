#pragma once

#include <optional>

#include "compression/calibration/range_observer.h"
#include "compression/formats/grid_format.h"
#include "compression/formats/weight_shard.h"

namespace wattle {

/// The scales that an observer gives the segments of a weight, by the format's own rule for a range
/// (grid_of_range()), with the observed range in place of the extremes:
///
///   minmax      the extremes
///   ema         a moving average of the extremes over the observations: the ends of the range
///   before
///               move by the share `momentum` of the way; the first observation is the extremes
///   percentile  exact quantiles of the segment's values; symmetric: of their magnitudes
///   histogram   the least loss of information, from the segment's histogram (clipping_search.h)
///   mse         the least squared error of rounding the segment's values, over 128 fractions of
///               either end
///
/// `before`: what was observed last; null the first time. A function of the values and of `before`
/// alone: the same on every rank and with any number of threads. Of a part of a weight: those of
/// the whole one, to the last bit; collective where shares_scales(). `values` as WeightFormat takes
/// them. Throws Error(kNonFinite) for values that are not finite, Error(kInternal) for a format
/// that has no integers.
WeightScales observed_scales(const GridFormatOptions& format, const ObserverOptions& observer,
                             const at::Tensor& values, const WeightScales* before,
                             const WeightShard* shard = nullptr);

/// The scales to give a format when it rounds these values and nothing was observed before: the
/// observer's, or nothing where there is none or the format has no integers, for the format's own
/// rule. Throws as observed_scales().
std::optional<WeightScales> first_scales(const WeightFormat& format,
                                         const std::optional<ObserverOptions>& observer,
                                         const at::Tensor& values);

/// Rounds values in place with those scales. False, and the values are anything, where a format
/// can't hold them: a scale is beyond its type, or what comes out is not finite.
bool try_to_round(const WeightFormat& format, const std::optional<ObserverOptions>& observer,
                  at::Tensor& values);

}  // namespace wattle
