#pragma once

#include <optional>
#include <vector>

namespace wattle::scheduler {

/// Jobs to operating points: at most one item a job, the sum of values as large as it can be,
/// within the devices of every type, the watts, and every tenant's joules. A multiple-choice
/// knapsack of several dimensions.
struct Item {
  double value = 0;  ///< above 0; like all numbers of a problem, finite
  int type = 0;
  int ranks = 0;
  double watts = 0;
  double joules = 0;
};

struct Bidder {
  int tenant = 0;
  std::vector<Item> items;
};

struct Problem {
  std::vector<int> devices;  ///< by type
  double watts = 0;
  std::vector<std::optional<double>> joules;  ///< by tenant; none = unlimited
  std::vector<Bidder> jobs;
};

inline constexpr int kNothing = -1;

struct Assignment {
  std::vector<int> items;  ///< by job; kNothing = it does not run
  double value = 0;
  double bound = 0;  ///< no assignment has a higher value
};

/// Whether an assignment keeps within everything, up to a relative 1e-9.
bool feasible(const Problem& problem, const Assignment& assignment);
double value_of(const Problem& problem, const Assignment& assignment);

/// Branch and bound (GLPK's) to a relative 1e-6. For small problems: time grows without limit, so
/// that after `most_nodes` of the tree it gives the best that it has found by then and a `bound`
/// (a count, not a time: equal problems give equal answers). Throws Error(kInternal) if GLPK fails.
inline constexpr int kMostNodes = 1 << 30;
Assignment solve_exact(const Problem& problem, int most_nodes = kMostNodes);

/// Lagrangian relaxation: prices for devices, watts and joules by subgradient steps, then greedy
/// repair in the order of value per price paid, then exchanges between jobs while they help. Time
/// grows about linearly; deterministic. `bound` is the dual's value.
Assignment solve_relaxed(const Problem& problem);

}  // namespace wattle::scheduler
