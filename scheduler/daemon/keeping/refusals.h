#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace wattle::scheduler {

/// How many refusals of each caller are written down: whoever asks for nonsense again and again
/// shall not fill the disk with the answers. Members may be called from any thread.
class Refusals {
 public:
  static constexpr int kMost = 30;  ///< of one caller in a minute

  /// Whether this one is to be written down.
  bool take(const std::string& who, double now_seconds) {
    const std::lock_guard lock(mutex_);
    Minute& minute = minutes_.try_emplace(who, Minute{now_seconds}).first->second;
    return ++minute.refusals <= kMost;
  }

  /// Ends the minutes that are over, and says of which callers how many were not written down.
  std::vector<std::pair<std::string, int>> left_out(double now_seconds) {
    const std::lock_guard lock(mutex_);
    std::vector<std::pair<std::string, int>> left;
    std::erase_if(minutes_, [&](const auto& entry) {
      const auto& [who, minute] = entry;
      if (now_seconds < minute.began_seconds + 60) return false;
      if (minute.refusals > kMost) left.emplace_back(who, minute.refusals - kMost);
      return true;
    });
    return left;
  }

 private:
  struct Minute {
    double began_seconds = 0;
    int refusals = 0;
  };
  std::mutex mutex_;
  std::map<std::string, Minute> minutes_;
};

}  // namespace wattle::scheduler
