#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace wattle {

/// How many targets are scored, that is, not -1.
int64_t count_scored(const at::Tensor& targets);

/// Throws Error(kFormat) unless all targets are classes, or -1 where nothing is scored: damaged
/// data or another model's is found before a class indexes the row of its logits.
void check_classes(const at::Tensor& targets, int64_t classes);

/// The sum of -log softmax(logits)[row, target] over the scored rows of logits [rows, classes],
/// targets [rows] int64. With a scale, the logits are replaced by their gradients times it:
/// (softmax - one-hot) * scale, 0 in rows that are not scored. Sums in float64 on the CPU.
double softmax_loss_(at::Tensor& logits, const at::Tensor& targets,
                     std::optional<double> gradient_scale);

}  // namespace wattle
