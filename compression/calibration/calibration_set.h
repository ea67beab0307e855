#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#include "parallel/communicator.h"
#include "trainer/data/dataset.h"

namespace wattle {

/// The samples on which a model is measured before or while it is compressed: spread evenly over
/// the training data, the same ones in the same batches on any number of ranks, of which each
/// visits its share.
class CalibrationSet {
 public:
  /// `data` and `ranks` must outlive it. `batch`: samples of a batch.
  CalibrationSet(const Dataset& data, int64_t batch, Communicator& ranks)
      : data_(data), batch_(batch), ranks_(ranks) {}

  Communicator& ranks() const { return ranks_; }
  /// Batches of `samples` samples, or of all there are if they are fewer.
  int64_t batches(int64_t samples) const;
  /// Batch `index` of them, on any rank. Throws Error(kNonFinite) naming the sample if one of its
  /// values is NaN or infinite.
  Batch batch(int64_t samples, int64_t index) const;
  /// The same error for any of them, before they are needed. Each rank looks at its own, and only
  /// the one that visits the sample throws.
  void check(int64_t samples) const;
  /// This rank's batches of them, in order.
  void each_of_mine(int64_t samples,
                    const std::function<void(int64_t index, const Batch& batch)>& visit) const;

 private:
  int64_t count(int64_t samples) const { return std::min(samples, data_.size()); }

  const Dataset& data_;
  int64_t batch_;
  Communicator& ranks_;
};

}  // namespace wattle
