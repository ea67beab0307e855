#include "compression/calibration/value_histogram.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>

#include "common/error.h"

namespace wattle {
namespace {

constexpr int64_t kPerSide = ValueHistogram::kBinsPerSide;

/// The bin of magnitude m on a value's side: by magnitude, so that values which vanish beside the
/// width still keep their side.
int64_t bin_of(float value, float per_width) {
  const auto m = static_cast<int64_t>(std::abs(value) * per_width);
  return value < 0 ? kPerSide - 1 - m : kPerSide + m;
}

}  // namespace

int ValueHistogram::exponent_for(float magnitude) {
  int power = 0;
  std::frexp(magnitude, &power);  // magnitude < 2^power
  constexpr int kLogPerSide = 11;
  static_assert(int64_t{1} << kLogPerSide == kBinsPerSide);
  return magnitude == 0 ? kLeastExponent : std::max(kLeastExponent, power - kLogPerSide);
}

double ValueHistogram::width() const { return std::ldexp(1.0, exponent_); }

void ValueHistogram::widen(int exponent) {
  if (exponent <= exponent_) return;
  const int64_t shift = std::min<int64_t>(exponent - exponent_, 62);
  std::vector<int64_t> wider(kBins);
  for (int64_t m = 0; m < kPerSide; ++m) {
    wider[kPerSide + (m >> shift)] += counts_[kPerSide + m];
    wider[kPerSide - 1 - (m >> shift)] += counts_[kPerSide - 1 - m];
  }
  counts_ = std::move(wider);
  exponent_ = exponent;
}

void ValueHistogram::count(const float* values, int64_t size) {
  const float per_width = std::ldexp(1.0f, -exponent_);
  std::mutex mutex;
  at::parallel_for(0, size, 1 << 15, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> mine(kBins);
    for (int64_t i = begin; i < end; ++i) ++mine[bin_of(values[i], per_width)];
    const std::lock_guard lock(mutex);
    for (int64_t b = 0; b < kBins; ++b) counts_[b] += mine[b];
  });
}

void ValueHistogram::merge(ValueHistogram other) {
  widen(other.exponent_);
  other.widen(exponent_);
  for (int64_t b = 0; b < kBins; ++b) counts_[b] += other.counts_[b];
}

int64_t ValueHistogram::total() const {
  return std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
}

std::pair<int64_t, int64_t> ValueHistogram::occupied() const {
  int64_t first = 0, last = kBins;
  while (first < kBins && counts_[first] == 0) ++first;
  if (first == kBins) return {0, 0};
  while (counts_[last - 1] == 0) --last;
  return {first, last};
}

}  // namespace wattle
