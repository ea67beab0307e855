#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <set>

#include "scheduler/core/domain/job.h"

namespace wattle::scheduler {

/// What has changed since when, for those who watch. Any thread.
class ChangeLog {
 public:
  /// Something has changed, and perhaps what there is to say of these jobs.
  void add(const std::set<JobId>& jobs);
  /// Ends all waits, now and from now on.
  void close();

  int64_t version() const;
  /// Waits until something has changed since `version`, at most `seconds`; gives the present one.
  int64_t wait(int64_t version, double seconds) const;
  /// Waits so long, or until it is closed.
  void rest(double seconds) const;
  /// The jobs that have changed after `version`; nothing if that is longer ago than is remembered:
  /// any of them may have.
  std::optional<std::set<JobId>> since(int64_t version) const;

 private:
  static constexpr size_t kMostRemembered = 10000;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  int64_t version_ = 0;
  std::deque<std::set<JobId>> jobs_;  ///< of the newest versions, the last one's at the end
  bool is_closed_ = false;
};

}  // namespace wattle::scheduler
