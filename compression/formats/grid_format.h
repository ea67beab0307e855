#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "compression/formats/weight_format.h"
#include "compression/scale_choices.h"

namespace wattle {

/// A format of codes with scales beside them.
struct GridFormatOptions {
  enum class Kind { kInteger, kTernary, kFp8 };
  Kind kind = Kind::kInteger;
  int64_t bits = 8;  ///< of integers: 2, 4, 8 or 16
  ScaleSharing sharing = ScaleSharing::kChannel;
  int64_t group_size = 32;  ///< for kGroup; divides a row
  bool symmetric = true;    ///< no zero points; integers alone may have them
};

/// The names are KIND:SHARING[:asymmetric]: KIND int2, int4, int8, int16, ternary or fp8, SHARING
/// tensor, channel or groupN.
///
/// The rule that gives scales, where none are given:
///   int8, int16  symmetric: largest magnitude / 127 (32767), codes from -127 (-32767): the weights
///                of Jacob et al. 2018 (arXiv:1712.05877)
///   int4, int2   symmetric: largest magnitude / 7.5 (1.5), all codes from -8 to 7 (-2 to 1), as
///   the
///                compressed-tensors library does it
///   asymmetric   (largest - smallest) / (2^bits - 1), both made to include 0, and the zero point
///                nudged to an integer
///   ternary      mean magnitude, codes -1, 0, 1 (Ma et al. 2024, arXiv:2402.17764); summed in
///                whole steps of 2^-30 of the power of two that reaches the segment's largest, and
///                divided by the segment's count
///   fp8          largest magnitude / 448, codes e4m3
/// A segment of zeros has the scale 1. Extremes and sums of integers are the same in any order:
/// the scales of a weight that lies on several ranks are those of the whole one, to the last bit.
std::shared_ptr<const WeightFormat> make_grid_format(const GridFormatOptions& options);

/// The scale and the zero point of a segment of integers.
struct SegmentGrid {
  float scale = 1;
  float zero = 0;
};

/// What the rule gives a segment of integers whose values reach from `low` to `high`, 0 between
/// them; of symmetric ones the larger magnitude counts.
SegmentGrid grid_of_range(const GridFormatOptions& options, float low, float high);

/// The range that grid_of_range() makes such a grid of, but for rounding.
std::pair<float, float> range_of_grid(const GridFormatOptions& options, const SegmentGrid& grid);

/// The lowest and the highest code of integers and ternary numbers.
struct CodeRange {
  int64_t low = 0;
  int64_t high = 0;
};
CodeRange code_range(const GridFormatOptions& options);

std::string grid_format_name(const GridFormatOptions& options);
/// Nothing if the name is none of these.
std::optional<GridFormatOptions> parse_grid_format(const std::string& name);

/// Values that share a scale, in a weight of this shape.
int64_t segment_size(const GridFormatOptions& options, at::IntArrayRef shape);

}  // namespace wattle
