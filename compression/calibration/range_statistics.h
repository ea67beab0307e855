#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "compression/calibration/value_histogram.h"
#include "parallel/communicator.h"

namespace wattle {

/// What is known of a tensor's values: extremes and, where wanted, a histogram. It is made of
/// maxima and counts alone, so that what several ranks or micro-batches have seen is merged without
/// any loss: the result is the same to the last bit however the values were split.
class RangeStatistics {
 public:
  explicit RangeStatistics(bool with_histogram);

  /// Takes in the values of a floating-point CPU tensor, as float32. Throws Error(kNonFinite)
  /// naming `tensor` and its row (dim 0) if a value is NaN or infinite; nothing is taken in then.
  void add(const at::Tensor& values, const std::string& tensor);
  /// The same, but false then.
  bool try_add(const at::Tensor& values);

  void merge(const RangeStatistics& other);

  bool empty() const { return values_ == 0; }
  int64_t values() const { return values_; }
  /// The extremes; 0 if empty.
  float low() const { return low_; }
  float high() const { return high_; }
  const std::optional<ValueHistogram>& histogram() const { return histogram_; }

  /// As JSON text, and back. load() throws nlohmann's exceptions on other text.
  std::string save() const;
  void load(const std::string& text);

  bool operator==(const RangeStatistics&) const = default;

 private:
  friend void all_reduce(std::span<RangeStatistics* const>, Communicator&);
  static void merge_extremes(std::span<RangeStatistics* const> statistics, Communicator& ranks);
  static void merge_counts(std::span<RangeStatistics* const> statistics, Communicator& ranks);

  int64_t values_ = 0;
  float low_ = 0;
  float high_ = 0;
  std::optional<ValueHistogram> histogram_;
};

/// Merges the statistics of all ranks, each rank's i-th with the others' i-th: a maximum and a sum
/// over all of them at once. Collective: every rank brings as many, of the same kinds. `ranks`
/// moves CPU tensors.
void all_reduce(std::span<RangeStatistics* const> statistics, Communicator& ranks);

}  // namespace wattle
