#include "compression/ranges/shared_ranges.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "compression/calibration/clipping_search.h"
#include "compression/formats/grid_kernels.h"
#include "compression/formats/segments.h"
#include "compression/formats/weight_checks.h"

namespace wattle {
namespace {

/// Histograms that are summed over the ranks at a time, of 32 KiB each.
constexpr int64_t kHistograms = 64;
constexpr uint32_t kSign = 0x80000000u;

/// Numbers that are in the order of the floats.
uint32_t key_of(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return bits & kSign ? ~bits : bits | kSign;
}
float value_of(uint32_t key) { return std::bit_cast<float>(key & kSign ? key & ~kSign : ~key); }

/// The value in place `place` of each segment's, by bisection over the floats: counts of values at
/// or below a middle are summed over the ranks.
template <class Map>
std::vector<float> in_place(const at::Tensor& values, const Segments& segments, int64_t place,
                            const Map& map, Communicator& ranks) {
  const float* x = weight_data(values);
  std::vector<uint32_t> least(segments.count, 0), most(segments.count, ~0u);
  for (int bit = 0; bit < 32; ++bit) {
    std::vector<int64_t> parts(segments.count * segments.pieces);
    segments.each_piece([&](int64_t piece, int64_t i, int64_t first, int64_t count) {
      const uint32_t middle = std::midpoint(least[i], most[i]);
      parts[piece] = std::count_if(x + first, x + first + count,
                                   [&](float value) { return key_of(map(value)) <= middle; });
    });
    std::vector<int64_t> counts = segments.joined_pieces(parts);
    sum_over_ranks(counts, &ranks);
    for (int64_t i = 0; i < segments.count; ++i) {
      const uint32_t middle = std::midpoint(least[i], most[i]);
      if (counts[i] > place) {
        most[i] = middle;
      } else if (middle < most[i]) {
        least[i] = middle + 1;
      }
    }
  }
  std::vector<float> found(segments.count);
  std::ranges::transform(most, found.begin(), value_of);
  return found;
}

}  // namespace

int64_t quantile_place(int64_t count, double share) {
  const auto place = static_cast<int64_t>(std::ceil(share * static_cast<double>(count))) - 1;
  return std::clamp<int64_t>(place, 0, count - 1);
}

std::vector<ClipRange> shared_quantiles(const at::Tensor& values, int64_t segment, int64_t whole,
                                        bool symmetric, double share, Communicator& ranks) {
  const Segments segments(values.numel(), segment);
  const int64_t place = quantile_place(whole, share);
  const auto quantiles = [&](const auto& map) {
    return in_place(values, segments, place, map, ranks);
  };
  std::vector<ClipRange> found(segments.count);
  if (symmetric) {
    const std::vector<float> most = quantiles([](float x) { return std::fabs(x); });
    std::ranges::transform(most, found.begin(), [](float m) { return ClipRange{-m, m}; });
    return found;
  }
  const std::vector<float> high = quantiles([](float x) { return x; });
  const std::vector<float> low = quantiles([](float x) { return -x; });
  for (int64_t i = 0; i < segments.count; ++i) {
    found[i] = {std::min(0.0f, -low[i]), std::max(0.0f, high[i])};
  }
  return found;
}

std::vector<ClipRange> shared_least_losses(const at::Tensor& values, int64_t segment,
                                           const GridFormatOptions& format, Communicator& ranks) {
  const at::Tensor rows = values.view({-1, segment});
  std::vector<ClipRange> found(rows.size(0));
  for (int64_t first = 0; first < rows.size(0); first += kHistograms) {
    const int64_t count = std::min(kHistograms, rows.size(0) - first);
    std::vector<RangeStatistics> seen(count, RangeStatistics(/*with_histogram=*/true));
    std::vector<RangeStatistics*> each;
    for (int64_t i = 0; i < count; ++i) {
      seen[i].add(rows[first + i], "a weight");
      each.push_back(&seen[i]);
    }
    all_reduce(each, ranks);
    at::parallel_for(0, count, 1, [&](int64_t i, int64_t end) {
      for (; i < end; ++i) {
        found[first + i] = least_information_loss_range(
            seen[i], {static_cast<int>(format.bits), format.symmetric});
      }
    });
  }
  return found;
}

double squared_error_step(const GridFormatOptions& format, const SegmentGrid& grid,
                          const ClipRange& extremes) {
  const auto [low, high] = range_of_grid(format, grid);
  const double beyond = std::max({0.0, double{extremes.high} - high, double{low} - extremes.low});
  const double largest = beyond + grid.scale;
  return step_below(largest * largest);
}

std::vector<ClipRange> shared_least_squares(const at::Tensor& values, int64_t segment,
                                            const GridFormatOptions& format,
                                            const std::vector<ClipRange>& extremes,
                                            Communicator& ranks) {
  const float* x = weight_data(values);
  const Segments segments(values.numel(), segment);
  const CodeRange codes = code_range(format);
  const auto low = static_cast<float>(codes.low), high = static_cast<float>(codes.high);
  std::vector<int64_t> parts(segments.count * segments.pieces);
  return least_costly_ranges(
      extremes, format.symmetric,
      [&](const std::vector<ClipRange>& ranges, std::vector<double>& costs) {
        const auto grid_of = [&](int64_t i) {
          return grid_of_range(format, ranges[i].low, ranges[i].high);
        };
        segments.each_piece([&](int64_t piece, int64_t i, int64_t first, int64_t count) {
          const SegmentGrid grid = grid_of(i);
          parts[piece] =
              squared_errors_in_steps(x + first, count, {grid.scale, grid.zero, low, high},
                                      squared_error_step(format, grid, extremes[i]));
        });
        std::vector<int64_t> sums = segments.joined_pieces(parts);
        sum_over_ranks(sums, &ranks);
        for (int64_t i = 0; i < segments.count; ++i) {
          costs[i] =
              static_cast<double>(sums[i]) * squared_error_step(format, grid_of(i), extremes[i]);
        }
      });
}

}  // namespace wattle
