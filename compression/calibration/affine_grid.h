#pragma once

#include <cstdint>

namespace wattle {

/// An interval of values that a quantiser is to hold. Zero lies in it: padding and ReLU's output
/// must have a value without error.
struct ClipRange {
  float low = 0;   ///< at most 0
  float high = 0;  ///< at least 0
  bool operator==(const ClipRange&) const = default;
};

/// Evenly spaced integers of a width: value = (integer - zero_point) * scale.
struct AffineGrid {
  int bits = 8;  ///< 2 to 16
  /// Zero point 0 and the same magnitude on both sides, as for weights; otherwise all integers of
  /// the width are used and the zero point moves, as for activations (Jacob et al. 2018).
  bool symmetric = true;

  int64_t lowest() const { return symmetric ? -highest() : -highest() - 1; }
  int64_t highest() const { return (int64_t{1} << (bits - 1)) - 1; }
  bool operator==(const AffineGrid&) const = default;
};

/// Where a grid's integers lie among the values.
struct AffineScale {
  float scale = 1;  ///< above 0
  int64_t zero_point = 0;
  bool operator==(const AffineScale&) const = default;
};

/// The scale with which the grid just covers the range; of an asymmetric grid the zero point is
/// nudged to an integer (Jacob et al. 2018, section 3). A range of zeros gets scale 1. Throws
/// Error(kInternal) if the range is not finite, or 0 is not in it.
AffineScale scale_of(const ClipRange& range, const AffineGrid& grid);

/// The values that the grid's first and last integer stand for.
ClipRange covered_by(const AffineScale& scale, const AffineGrid& grid);

}  // namespace wattle
