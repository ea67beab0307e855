#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace wattle {

/// Counts of values in bins of equal width, half of them on either side of zero.
///
/// The width is a power of two, and the least with which the largest magnitude so far fits. When it
/// must grow, neighbouring bins are added in pairs, which gives the very counts that the wider bins
/// would have had from the start: a histogram is a function of the values that it holds, not of the
/// order, the batches or the ranks in which they came.
class ValueHistogram {
 public:
  static constexpr int64_t kBinsPerSide = 2048;
  static constexpr int64_t kBins = 2 * kBinsPerSide;
  /// Widths below 2^-110 would not be exact in float32; smaller values fall into the first bins.
  static constexpr int kLeastExponent = -110;

  ValueHistogram() : counts_(kBins) {}

  /// The exponent with which values of this magnitude fit.
  static int exponent_for(float magnitude);

  /// Makes the bins 2^exponent wide, if that is wider than they are.
  void widen(int exponent);
  /// Counts finite values, whose magnitudes must fit. On all threads.
  void count(const float* values, int64_t size);
  /// Adds what the other one holds.
  void merge(ValueHistogram other);

  int exponent() const { return exponent_; }
  double width() const;
  /// The lower edge of bin i, 0 <= i <= kBins.
  double edge(int64_t i) const { return static_cast<double>(i - kBinsPerSide) * width(); }
  const std::vector<int64_t>& counts() const { return counts_; }
  /// For sums over ranks, between histograms of the same exponent.
  std::vector<int64_t>& counts() { return counts_; }
  int64_t total() const;
  /// The first bin with a value in it and the one after the last; both 0 if there is none.
  std::pair<int64_t, int64_t> occupied() const;

  bool operator==(const ValueHistogram&) const = default;

 private:
  int exponent_ = kLeastExponent;
  std::vector<int64_t> counts_;
};

}  // namespace wattle
