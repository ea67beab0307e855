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

  /// Lets a job step down (or off, or across) for another one, or two others, that step up, while
  /// the sum gains. Quadratic in the jobs: done only for small problems.
  void trade();

  /// Gives the best items there are to every two jobs, and then to every three, with all others as
  /// they are, while the sum gains. Looks at most at so many choices.
  void reassign(int most_choices);

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
  bool reassign(const std::vector<size_t>& jobs, int& choices);

  struct Search;

  const Problem* problem_;
  std::vector<std::vector<int>> by_value_;  ///< of reassign()
  std::vector<int> items_;
  Left left_;
};

}  // namespace wattle::scheduler
