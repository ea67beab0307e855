#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "trainer/nn/model.h"

namespace wattle {

/// A loss of logits that stands in for cross-entropy while a model trains; evaluation keeps
/// cross-entropy. An objective asks it for one batch at a time, piece by piece.
class LogitLoss {
 public:
  virtual ~LogitLoss() = default;

  /// A batch begins, whose inputs the context holds.
  virtual void begin(const ForwardContext& context) = 0;

  /// As softmax_loss_() (softmax_loss.h): the sum over the scored rows of logits [rows, classes],
  /// which are rows [first_row, first_row + rows) of the batch, positions in order; with a scale,
  /// the logits are replaced by their gradients times it. A model of one logit a row, of class 1
  /// against class 0, has targets from 0 to 1 instead, [rows, 1] of the logits' type, all scored.
  virtual double loss_(at::Tensor& logits, const at::Tensor& targets, int64_t first_row,
                       std::optional<double> gradient_scale) = 0;
};

}  // namespace wattle
