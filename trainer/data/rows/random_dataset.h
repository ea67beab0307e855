#pragma once

#include "trainer/data/dataset.h"

namespace wattle {

/// Made-up samples: inputs uniform in [0, 1), targets a fair coin (0 or 1) or uniform in [0, 1). A
/// sample is a pure function of (seed, its number), computed when it is fetched.
class RandomDataset final : public Dataset {
 public:
  enum class Targets { kBinary, kUniform };

  /// Samples numbered [first, first + size) of `features` inputs each. Datasets over other numbers
  /// share no sample.
  RandomDataset(uint64_t seed, int64_t first, int64_t size, int64_t features, Targets targets);

  int64_t size() const override { return size_; }
  const SampleShape& shape() const override { return shape_; }
  /// inputs [batch, features] float32, targets [batch] float32.
  Batch fetch(std::span<const int64_t> indices) const override;

 private:
  uint64_t seed_;
  int64_t first_;
  int64_t size_;
  Targets targets_;
  SampleShape shape_;
};

}  // namespace wattle
