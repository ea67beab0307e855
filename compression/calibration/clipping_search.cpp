#include "compression/calibration/clipping_search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "common/error.h"

namespace wattle {
namespace {

constexpr int kFractions = 128;
constexpr int kMostSweeps = 8;

const ValueHistogram& histogram_of(const RangeStatistics& seen) {
  if (!seen.histogram() || seen.empty()) {
    throw Error(ErrorCode::kInternal, "calibration: a search needs a histogram with values in it");
  }
  return *seen.histogram();
}

/// The extremes, with 0 between them, and alike on both sides of a symmetric grid.
ClipRange widest(const RangeStatistics& seen, const AffineGrid& grid) {
  ClipRange range{std::min(seen.low(), 0.0f), std::max(seen.high(), 0.0f)};
  if (grid.symmetric) {
    range.high = std::max(-range.low, range.high);
    range.low = -range.high;
  }
  return range;
}

/// A bin as far as values can lie in it: one that holds an extreme ends there.
struct Bin {
  double begin, end;
  double count;
};

/// Calls use(bin) for the bins with a value in them, from the lowest on.
void each_bin(const RangeStatistics& seen, const std::function<void(const Bin&)>& use) {
  const ValueHistogram& histogram = histogram_of(seen);
  const auto [first, last] = histogram.occupied();
  for (int64_t i = first; i < last; ++i) {
    const int64_t count = histogram.counts()[i];
    if (count == 0) continue;
    const double begin = std::max<double>(histogram.edge(i), seen.low());
    const double end = std::min<double>(histogram.edge(i + 1), seen.high());
    use({begin, std::max(begin, end), static_cast<double>(count)});
  }
}

/// The squared distance to the nearest value of a grid, and its integral from 0 on.
class SquaredError {
 public:
  SquaredError(const AffineScale& scale, const AffineGrid& grid)
      : step_(scale.scale),
        low_(static_cast<double>(grid.lowest() - scale.zero_point) * step_),
        high_(static_cast<double>(grid.highest() - scale.zero_point) * step_) {}

  double at(double x) const {
    const double nearest = std::clamp(std::floor(x / step_ + 0.5) * step_, low_, high_);
    return (x - nearest) * (x - nearest);
  }

  double integral(double x) const {
    const double inside = std::clamp(x, low_, high_);
    const double cells = std::floor(inside / step_ + 0.5);
    return cells * step_ * step_ * step_ / 12 + cube_third(inside - cells * step_) +
           cube_third(x - inside);
  }

 private:
  static double cube_third(double x) { return x * x * x / 3; }

  double step_, low_, high_;
};

/// The value below which `wanted` of the counts lie, counts being in order of value.
double quantile(const std::vector<Bin>& bins, double wanted) {
  double below = 0;
  for (const Bin& bin : bins) {
    if (below + bin.count >= wanted) {
      return bin.begin + (bin.end - bin.begin) * std::max(0.0, wanted - below) / bin.count;
    }
    below += bin.count;
  }
  return bins.back().end;
}

/// The histogram of the magnitudes.
std::vector<Bin> folded(const RangeStatistics& seen) {
  const ValueHistogram& histogram = histogram_of(seen);
  const double most = std::max(-seen.low(), seen.high());
  std::vector<Bin> bins;
  for (int64_t m = 0; m < ValueHistogram::kBinsPerSide; ++m) {
    const int64_t count = histogram.counts()[ValueHistogram::kBinsPerSide + m] +
                          histogram.counts()[ValueHistogram::kBinsPerSide - 1 - m];
    const double begin = static_cast<double>(m) * histogram.width();
    if (count == 0) continue;
    bins.push_back({begin, std::min(begin + histogram.width(), most), static_cast<double>(count)});
  }
  return bins;
}

/// D(P || Q): P the histogram with what is clipped counted in the outermost bins that are not, Q
/// these bins with the counts of each step of the grid spread evenly over its occupied bins.
class InformationLoss {
 public:
  explicit InformationLoss(const RangeStatistics& seen) {
    each_bin(seen, [&](const Bin& bin) { bins_.push_back(bin); });
  }

  double operator()(const AffineScale& scale, const AffineGrid& grid) const {
    const auto integer = [&](const Bin& bin) {
      return static_cast<int64_t>(std::floor((bin.begin + bin.end) / 2 / scale.scale + 0.5)) +
             scale.zero_point;
    };
    size_t first = 0, end = bins_.size();
    double below = 0, above = 0, kept = 0;
    while (first < end && integer(bins_[first]) < grid.lowest()) below += bins_[first++].count;
    while (first < end && integer(bins_[end - 1]) > grid.highest()) above += bins_[--end].count;
    if (first == end) return std::numeric_limits<double>::infinity();
    double divergence = 0;
    for (size_t i = first; i < end;) {
      const int64_t cell = integer(bins_[i]);
      double q = 0, p = 0, p_log_p = 0, members = 0;
      for (; i < end && integer(bins_[i]) == cell; ++i, ++members) {
        double count = bins_[i].count;
        q += count;
        if (i == first) count += below;
        if (i == end - 1) count += above;
        p += count;
        p_log_p += count * std::log(count);
      }
      divergence += p_log_p - p * std::log(q / members);
      kept += q;
    }
    const double total = kept + below + above;
    return divergence / total + std::log(kept / total);
  }

 private:
  std::vector<Bin> bins_;  ///< with a value in them, from the lowest on
};

/// The descents' present states, and what they try next.
class Descents {
 public:
  Descents(const std::vector<ClipRange>& widest, const RangeCosts& cost)
      : widest_(widest), cost_(cost), best_(widest), tried_(widest), found_(widest.size()) {
    cost_(best_, found_);
    least_ = found_;
  }

  /// `n` 128ths of the widest range's ends; of an end that is not to move, the best so far.
  /// Returns whether that is better for any of them.
  bool attempt(int n, bool move_low, bool move_high) {
    const auto part = [n](float end) { return end * static_cast<float>(n) / kFractions; };
    for (size_t i = 0; i < best_.size(); ++i) {
      tried_[i] = {move_low ? part(widest_[i].low) : best_[i].low,
                   move_high ? part(widest_[i].high) : best_[i].high};
    }
    cost_(tried_, found_);
    bool better = false;
    for (size_t i = 0; i < best_.size(); ++i) {
      if (tried_[i].low == 0 && tried_[i].high == 0) continue;  // has no scale of its own
      if (!(found_[i] < least_[i])) continue;
      least_[i] = found_[i], best_[i] = tried_[i];
      better = true;
    }
    return better;
  }

  const std::vector<ClipRange>& best() const { return best_; }

 private:
  const std::vector<ClipRange>& widest_;
  const RangeCosts& cost_;
  std::vector<ClipRange> best_, tried_;
  std::vector<double> least_, found_;
};

}  // namespace

std::vector<ClipRange> least_costly_ranges(const std::vector<ClipRange>& widest, bool symmetric,
                                           const RangeCosts& cost) {
  Descents descents(widest, cost);
  for (int n = kFractions - 1; n > 0; --n) descents.attempt(n, true, true);
  for (int sweep = 0; !symmetric && sweep < kMostSweeps; ++sweep) {
    // One that finds nothing in a sweep finds nothing in the next.
    bool better = false;
    for (int n = kFractions; n >= 0; --n) better |= descents.attempt(n, true, false);
    for (int n = kFractions; n >= 0; --n) better |= descents.attempt(n, false, true);
    if (!better) break;
  }
  return descents.best();
}

ClipRange least_costly_range(const ClipRange& widest, bool symmetric,
                             const std::function<double(const ClipRange&)>& cost) {
  return least_costly_ranges({widest}, symmetric,
                             [&](const std::vector<ClipRange>& ranges, std::vector<double>& costs) {
                               costs[0] = cost(ranges[0]);
                             })[0];
}

double mean_squared_error(const RangeStatistics& seen, const AffineScale& scale,
                          const AffineGrid& grid) {
  const SquaredError error(scale, grid);
  double sum = 0;
  each_bin(seen, [&](const Bin& bin) {
    const double width = bin.end - bin.begin;
    sum += bin.count * (width > 0 ? (error.integral(bin.end) - error.integral(bin.begin)) / width
                                  : error.at(bin.begin));
  });
  return sum / static_cast<double>(histogram_of(seen).total());
}

ClipRange percentile_range(const RangeStatistics& seen, const AffineGrid& grid, double share) {
  const auto total = static_cast<double>(histogram_of(seen).total());
  if (grid.symmetric) {
    const auto most = static_cast<float>(quantile(folded(seen), share * total));
    return {-most, most};
  }
  std::vector<Bin> bins;
  each_bin(seen, [&](const Bin& bin) { bins.push_back(bin); });
  return {std::min(0.0f, static_cast<float>(quantile(bins, (1 - share) * total))),
          std::max(0.0f, static_cast<float>(quantile(bins, share * total)))};
}

ClipRange least_squares_range(const RangeStatistics& seen, const AffineGrid& grid) {
  return least_costly_range(widest(seen, grid), grid.symmetric, [&](const ClipRange& range) {
    return mean_squared_error(seen, scale_of(range, grid), grid);
  });
}

ClipRange least_information_loss_range(const RangeStatistics& seen, const AffineGrid& grid) {
  const InformationLoss loss(seen);
  return least_costly_range(widest(seen, grid), grid.symmetric, [&](const ClipRange& range) {
    return loss(scale_of(range, grid), grid);
  });
}

}  // namespace wattle
