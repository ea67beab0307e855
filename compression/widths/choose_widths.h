#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wattle {

/// One of the formats that a weight could have: what it takes and what it adds to the loss.
struct WidthChoice {
  int64_t bytes = 0;         ///< at least 0
  double loss_increase = 0;  ///< may be below 0: noise of a measurement; infinite: never taken
};

/// Takes one choice for each weight, so that the sum of bytes is at most `budget_bytes` and the sum
/// of loss increases the least: a multiple-choice knapsack. Returns the index of each weight's
/// choice.
///
/// Exact and deterministic: dynamic programming over the undominated partial sums (Nemhauser and
/// Ullmann 1969), without those whose Lagrangian bound exceeds a known solution. Of solutions of
/// equal loss it takes a smallest one. Throws Error(kConfig) if the smallest choices are above the
/// budget, Error(kInternal) for a weight without choices or numbers that are not finite.
std::vector<size_t> choose_widths(const std::vector<std::vector<WidthChoice>>& weights,
                                  int64_t budget_bytes);

}  // namespace wattle
