#include "scheduler/core/assign/problem.h"

namespace wattle::scheduler {

double value_of(const Problem& problem, const Assignment& assignment) {
  double value = 0;
  for (size_t j = 0; j < problem.jobs.size(); ++j) {
    if (assignment.items[j] != kNothing) value += problem.jobs[j].items[assignment.items[j]].value;
  }
  return value;
}

bool feasible(const Problem& problem, const Assignment& assignment) {
  std::vector<int> devices(problem.devices.size());
  std::vector<double> joules(problem.joules.size());
  double watts = 0;
  for (size_t j = 0; j < problem.jobs.size(); ++j) {
    if (assignment.items[j] == kNothing) continue;
    const Item& item = problem.jobs[j].items[assignment.items[j]];
    devices[item.type] += item.ranks;
    watts += item.watts;
    joules[problem.jobs[j].tenant] += item.joules;
  }
  constexpr double kSlack = 1 + 1e-9;
  for (size_t t = 0; t < devices.size(); ++t) {
    if (devices[t] > problem.devices[t]) return false;
  }
  for (size_t t = 0; t < joules.size(); ++t) {
    if (problem.joules[t] && joules[t] > *problem.joules[t] * kSlack) return false;
  }
  return watts <= problem.watts * kSlack;
}

}  // namespace wattle::scheduler
