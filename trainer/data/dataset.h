#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trainer/nn/model.h"

namespace wattle {

/// What one sample looks like to a model, without the batch dim.
struct SampleShape {
  enum class Kind {
    kTokens,  ///< inputs and targets [seq] int64
    kImage,   ///< inputs [channels, height, width] float32
    kRow,     ///< inputs [features] float32
  };

  Kind kind = Kind::kTokens;
  std::vector<int64_t> inputs;
  /// Tokens of the vocabulary, or classes; 0 where a target is a float32 number.
  int64_t classes = 0;
  /// Where classes is 0: targets may be any number; otherwise they are in [0, 1].
  bool any_number = false;
};

/// Samples by index. Immutable after construction: any number of threads may fetch.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual int64_t size() const = 0;
  virtual const SampleShape& shape() const = 0;
  /// The samples at these indices, each in [0, size()), as rows in that order, on the CPU.
  /// sample_indices are the indices given; a loader replaces them by global ones. Throws
  /// Error(kFormat) naming file and offset where what lies on disk is damaged.
  virtual Batch fetch(std::span<const int64_t> indices) const = 0;
};

}  // namespace wattle
