#include "scheduler/core/domain/rank_counts.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>

namespace wattle::scheduler {
namespace {

/// Those of a range that can come into question at all.
std::vector<int> counts_between(int min, int max) {
  std::vector<int> counts;
  if (static_cast<size_t>(max - min) < kMostRankCounts) {
    for (int count = min; count <= max; ++count) counts.push_back(count);
    return counts;
  }
  counts.push_back(min);
  for (int64_t power = 1; power < max; power *= 2) {
    if (power > min) counts.push_back(static_cast<int>(power));
  }
  counts.push_back(max);
  return counts;
}

std::vector<int> powers_and_ends(const std::vector<int>& counts) {
  std::vector<int> kept;
  std::copy_if(counts.begin(), counts.end(), std::back_inserter(kept), [&](int count) {
    return count == counts.front() || count == counts.back() ||
           std::has_single_bit(static_cast<unsigned>(count));
  });
  return kept;
}

std::vector<int> thinned(const std::vector<int>& counts) {
  std::vector<int> kept;
  for (size_t i = 0; i < kMostRankCounts; ++i) {
    kept.push_back(counts[i * (counts.size() - 1) / (kMostRankCounts - 1)]);
  }
  return kept;
}

}  // namespace

std::vector<int> planned_counts(std::vector<int> feasible, int min, int max) {
  if (feasible.empty()) feasible = counts_between(min, max);
  std::erase_if(feasible, [&](int count) { return count < min || count > max; });
  std::sort(feasible.begin(), feasible.end());
  feasible.erase(std::unique(feasible.begin(), feasible.end()), feasible.end());
  if (feasible.size() > kMostRankCounts) feasible = powers_and_ends(feasible);
  return feasible.size() > kMostRankCounts ? thinned(feasible) : feasible;
}

}  // namespace wattle::scheduler
