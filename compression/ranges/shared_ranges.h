#pragma once

#include <vector>

#include "compression/calibration/range_observer.h"
#include "compression/formats/grid_format.h"
#include "parallel/communicator.h"

namespace wattle {

// What observers see in segments of which each rank holds a part: the i-th `segment` neighbours of
// `values` on every rank. Found by reducing extremes, counts and sums of integers, so that it is
// what one process would find in the whole segments, to the last bit. Collective.

/// Exact quantiles without the rarest values; `whole`: values of a segment on all ranks.
std::vector<ClipRange> shared_quantiles(const at::Tensor& values, int64_t segment, int64_t whole,
                                        bool symmetric, double share, Communicator& ranks);

/// The least loss of information.
std::vector<ClipRange> shared_least_losses(const at::Tensor& values, int64_t segment,
                                           const GridFormatOptions& format, Communicator& ranks);

/// The least squared error, within `extremes`.
std::vector<ClipRange> shared_least_squares(const at::Tensor& values, int64_t segment,
                                            const GridFormatOptions& format,
                                            const std::vector<ClipRange>& extremes,
                                            Communicator& ranks);

/// The step in which squared errors of rounding to a grid are summed where values reach from
/// `extremes.low` to `extremes.high`.
double squared_error_step(const GridFormatOptions& format, const SegmentGrid& grid,
                          const ClipRange& extremes);

/// Which of `count` values in ascending order is the quantile `share`.
int64_t quantile_place(int64_t count, double share);

}  // namespace wattle
