#pragma once

#include <cstddef>
#include <vector>

namespace wattle::scheduler {

/// So many rank counts of a job are planned with.
inline constexpr size_t kMostRankCounts = 8;

/// So many feasible counts of a request are read: more than any batch has divisors.
inline constexpr size_t kMostGivenCounts = 4096;

/// The counts between `min` and `max`, both included, that a job is planned with, ascending and
/// each once: of `feasible`, or of all where that is empty. Where they are more than
/// kMostRankCounts, powers of two and both ends; where even those are more, some of them, evenly,
/// with both ends. Takes no longer for a wide range than for a narrow one. REQUIRES 1 <= min <=
/// max.
std::vector<int> planned_counts(std::vector<int> feasible, int min, int max);

}  // namespace wattle::scheduler
