#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "compression/calibration/affine_grid.h"
#include "compression/calibration/range_statistics.h"

namespace wattle {

/// How a range is chosen from what was seen.
enum class ObserverKind {
  kMinMax,         ///< the extremes
  kMovingAverage,  ///< of each global batch's extremes (Jacob et al. 2018)
  kPercentile,     ///< all but the rarest values
  kHistogram,      ///< the least loss of information (Migacz 2017)
  kLeastSquares,   ///< the least mean squared error
};

/// "minmax", "ema", "percentile", "histogram", "mse": as `observer:` names them.
const std::vector<std::pair<std::string, ObserverKind>>& observer_kinds();
const char* name_of(ObserverKind kind);

struct ObserverOptions {
  ObserverKind kind = ObserverKind::kMovingAverage;
  double momentum = 0.05;     ///< weight of a new batch in the moving average
  double percentile = 99.99;  ///< per cent of the values that are not clipped; above 50
};

/// Follows one tensor over the global batches of a run and says which range its quantiser is to
/// hold. What goes in are the statistics of a whole global batch, merged over micro-batches and
/// ranks (RangeStatistics, all_reduce), so that the range does not depend on the split.
class RangeObserver {
 public:
  RangeObserver(const ObserverOptions& options, const AffineGrid& grid);

  /// Statistics to collect one batch in: with a histogram if this kind needs one.
  RangeStatistics batch() const;

  /// A global batch has been seen; an empty one changes nothing.
  void update(const RangeStatistics& batch);

  bool has_range() const { return batches_ > 0; }
  /// Throws Error(kInternal) before the first batch.
  ClipRange range() const;
  AffineScale scale() const { return scale_of(range(), grid_); }
  const AffineGrid& grid() const { return grid_; }

  /// All that it knows, as JSON text for a checkpoint, and back, to the last bit. Throws
  /// Error(kFormat) on other text, or that of another kind.
  std::string save() const;
  void load(const std::string& text);

 private:
  ObserverOptions options_;
  AffineGrid grid_;
  int64_t batches_ = 0;
  double average_low_ = 0;
  double average_high_ = 0;
  RangeStatistics seen_;
};

}  // namespace wattle
