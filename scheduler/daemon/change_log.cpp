#include "scheduler/daemon/change_log.h"

#include <chrono>

namespace wattle::scheduler {

using Seconds = std::chrono::duration<double>;

void ChangeLog::add(const std::set<JobId>& jobs) {
  {
    const std::lock_guard lock(mutex_);
    ++version_;
    jobs_.push_back(jobs);
    if (jobs_.size() > kMostRemembered) jobs_.pop_front();
  }
  changed_.notify_all();
}

void ChangeLog::close() {
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
  }
  changed_.notify_all();
}

int64_t ChangeLog::version() const {
  const std::lock_guard lock(mutex_);
  return version_;
}

int64_t ChangeLog::wait(int64_t version, double seconds) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, Seconds(seconds), [&] { return version_ != version || is_closed_; });
  return version_;
}

void ChangeLog::rest(double seconds) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, Seconds(seconds), [&] { return is_closed_; });
}

std::optional<std::set<JobId>> ChangeLog::since(int64_t version) const {
  const std::lock_guard lock(mutex_);
  const auto missed = static_cast<size_t>(version_ - version);
  if (missed > jobs_.size()) return std::nullopt;
  std::set<JobId> jobs;
  for (auto of_version = jobs_.end() - static_cast<std::ptrdiff_t>(missed);
       of_version != jobs_.end(); ++of_version) {
    jobs.insert(of_version->begin(), of_version->end());
  }
  return jobs;
}

}  // namespace wattle::scheduler
