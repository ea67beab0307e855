#pragma once

#include <cstddef>
#include <vector>

namespace wattle {

/// One of the formats that a weight could have: what it costs (bytes, or joules a token) and what
/// it adds to the loss.
struct WidthChoice {
  double cost = 0;           ///< at least 0
  double loss_increase = 0;  ///< may be below 0: noise of a measurement; infinite: never taken
};

/// Takes one choice for each weight, so that the sum of costs is at most `budget` and the sum of
/// loss increases the least: a multiple-choice knapsack. Returns the index of each weight's choice.
///
/// Exact and deterministic: dynamic programming over the undominated partial sums (Nemhauser and
/// Ullmann 1969), without those whose Lagrangian bound exceeds a known solution. Costs that are
/// whole numbers, such as bytes, are compared without rounding. Of solutions of equal loss it takes
/// a cheapest one. Throws Error(kConfig) if the cheapest choices are above the budget,
/// Error(kInternal) for a weight without choices or numbers that are not finite.
std::vector<size_t> choose_widths(const std::vector<std::vector<WidthChoice>>& weights,
                                  double budget);

}  // namespace wattle
