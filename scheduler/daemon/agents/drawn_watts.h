#pragma once

#include <deque>

namespace wattle::scheduler {

/// What one node drew in its newest reports, each the mean since the one before. Not thread-safe.
class DrawnWatts {
 public:
  /// `at_seconds`: of any clock, ascending. What was before the last `keep_seconds` is forgotten.
  void add(double at_seconds, double watts, double keep_seconds);

  /// Of the newest report; one at least was added.
  double newest_seconds() const { return reports_.back().at_seconds; }
  /// The mean over a time, `until_seconds` > `from_seconds`. What lies before the kept reports, or
  /// after them, counts as the nearest of them.
  double mean(double from_seconds, double until_seconds) const;

 private:
  struct Report {
    double at_seconds = 0, watts = 0;
  };
  std::deque<Report> reports_;
};

}  // namespace wattle::scheduler
