#pragma once

#include <functional>
#include <vector>

#include "compression/calibration/affine_grid.h"
#include "compression/calibration/range_statistics.h"

namespace wattle {

// Ranges that are read from a histogram. Each is a function of its counts and extremes alone, and
// lies within the extremes. `seen` must have a histogram and hold at least one value.

/// The range without the rarest values: for an asymmetric grid between the quantiles 1 - share and
/// share, for a symmetric one the quantile `share` of the magnitudes. Values lie evenly in a bin.
ClipRange percentile_range(const RangeStatistics& seen, const AffineGrid& grid, double share);

/// The range that minimises the mean squared error of rounding to the grid, with what it clips:
/// the least of a descent over 128 fractions of either end.
ClipRange least_squares_range(const RangeStatistics& seen, const AffineGrid& grid);

/// The range that loses the least information: the least Kullback-Leibler divergence between the
/// clipped histogram and what the grid's steps leave of it (Migacz 2017, TensorRT's calibration),
/// over the same fractions; the widest of equal ones. A grid that is finer than the bins loses
/// nothing and keeps the extremes.
ClipRange least_information_loss_range(const RangeStatistics& seen, const AffineGrid& grid);

/// The least costly range of that descent within the widest one: both ends are scaled together,
/// then, unless they are the same, each by itself while that helps. Of equal ones the widest.
ClipRange least_costly_range(const ClipRange& widest, bool symmetric,
                             const std::function<double(const ClipRange&)>& cost);

/// Many such descents in step with one another: `cost` puts the cost of each one's range into its
/// place. The result of each is least_costly_range()'s.
using RangeCosts = std::function<void(const std::vector<ClipRange>&, std::vector<double>&)>;
std::vector<ClipRange> least_costly_ranges(const std::vector<ClipRange>& widest, bool symmetric,
                                           const RangeCosts& cost);

/// The mean squared error of rounding to this scale, values lying evenly in a bin.
double mean_squared_error(const RangeStatistics& seen, const AffineScale& scale,
                          const AffineGrid& grid);

}  // namespace wattle
