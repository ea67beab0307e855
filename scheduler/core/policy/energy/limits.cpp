#include "scheduler/core/policy/energy/limits.h"

#include <algorithm>
#include <cmath>

namespace wattle::scheduler {
namespace {

/// Runs of one kind have the same steepness but for rounding.
constexpr double kSameSteepness = 1e-6;

struct Rise {
  double steepness = 0;  ///< worth per watt
  size_t run = 0;
  double to_limit = 0;
  double watts = 0;
};

double steepness(const Worth& run, size_t from, size_t to) {
  return (run.values[to] - run.values[from]) / (run.limits[to] - run.limits[from]) / run.ranks;
}

/// The corners of the concave majorant, from the first limit on, up to the highest worth.
std::vector<size_t> corners_of(const Worth& run) {
  std::vector<size_t> corners;
  for (size_t i = 0; i < run.limits.size(); ++i) {
    while (corners.size() >= 2 && steepness(run, corners[corners.size() - 2], corners.back()) <=
                                      steepness(run, corners.back(), i)) {
      corners.pop_back();
    }
    if (!corners.empty() && run.values[i] <= run.values[corners.back()]) continue;
    corners.push_back(i);
  }
  return corners;
}

std::vector<Rise> rises_of(const std::vector<Worth>& runs) {
  std::vector<Rise> rises;
  for (size_t r = 0; r < runs.size(); ++r) {
    const std::vector<size_t> corners = corners_of(runs[r]);
    for (size_t c = 1; c < corners.size(); ++c) {
      const double to = runs[r].limits[corners[c]], from = runs[r].limits[corners[c - 1]];
      rises.push_back(
          {steepness(runs[r], corners[c - 1], corners[c]), r, to, runs[r].ranks * (to - from)});
    }
  }
  std::stable_sort(rises.begin(), rises.end(),
                   [](const Rise& a, const Rise& b) { return a.steepness > b.steepness; });
  return rises;
}

}  // namespace

double Worth::at(double limit) const {
  const size_t next =
      static_cast<size_t>(std::upper_bound(limits.begin(), limits.end(), limit) - limits.begin());
  if (next == 0) return values.front();
  if (next == limits.size()) return values.back();
  const double share = (limit - limits[next - 1]) / (limits[next] - limits[next - 1]);
  return values[next - 1] + share * (values[next] - values[next - 1]);
}

Worth Worth::from(double limit) const {
  Worth rest{ranks, {limit}, {at(limit)}};
  for (size_t i = 0; i < limits.size(); ++i) {
    if (limits[i] <= limit) continue;
    rest.limits.push_back(limits[i]);
    rest.values.push_back(values[i]);
  }
  return rest;
}

std::vector<double> raise_limits(const std::vector<Worth>& runs, double watts) {
  std::vector<double> limits;
  limits.reserve(runs.size());
  for (const Worth& run : runs) limits.push_back(run.limits.front());
  const std::vector<Rise> rises = rises_of(runs);
  for (size_t begin = 0, end = 0; begin < rises.size() && watts > 0; begin = end) {
    double wanted = 0;
    for (; end < rises.size() &&
           rises[end].steepness >= rises[begin].steepness * (1 - kSameSteepness);
         ++end) {
      wanted += rises[end].watts;
    }
    const double share = std::min(1.0, watts / wanted);
    for (size_t i = begin; i < end; ++i) {
      const Rise& rise = rises[i];
      double& limit = limits[rise.run];
      limit =
          share < 1 ? limit + std::floor(share * rise.watts / runs[rise.run].ranks) : rise.to_limit;
    }
    watts -= share * wanted;
  }
  return limits;
}

}  // namespace wattle::scheduler
