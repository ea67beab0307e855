#pragma once

#include <functional>
#include <vector>

#include "scheduler/core/assign/problem.h"

namespace wattle::scheduler {

/// An assignment under construction: keeps what is left of everything, and improves step by step
/// without ever leaving the feasible.
class Exchange {
 public:
  explicit Exchange(const Problem& problem);

  /// Whether the job can take this item (or kNothing) in place of its present one.
  bool fits(size_t job, int item) const;
  void set(size_t job, int item);
  const std::vector<int>& items() const { return items_; }

  /// Gives what is left to jobs that gain by a bigger item, best gain per price paid first.
  void upgrade(const std::function<double(const Item&, int tenant)>& price);

  /// Lets a job take an item for which another one, or two others, step down, while the sum gains.
  /// Quadratic in the jobs: done only for small problems.
  void trade();

 private:
  struct Left {
    std::vector<int> devices;
    double watts = 0;
    std::vector<double> joules;
  };

  const Item* item(size_t job, int index) const;
  void take(size_t job, int index, int sign);
  bool trade_for(size_t job);
  double best_upgrade(size_t job, int& index) const;

  const Problem* problem_;
  std::vector<int> items_;
  Left left_;
};

}  // namespace wattle::scheduler
