#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>

#include "scheduler/rpc/agent.pb.h"

namespace wattle::scheduler {

/// Commands on their way to one agent. An agent that takes nothing is cut off when kMost wait.
class Outbox {
 public:
  static constexpr size_t kMost = 10000;

  /// Dropped once it is closed.
  void put(const v1::Command& command) {
    {
      const std::lock_guard lock(mutex_);
      if (is_closed_) return;
      commands_.push_back(command);
      is_closed_ = commands_.size() > kMost;
    }
    changed_.notify_one();
  }

  /// Waits; nothing once it is closed.
  std::optional<v1::Command> take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_closed_ || !commands_.empty(); });
    if (is_closed_) return std::nullopt;
    v1::Command command = std::move(commands_.front());
    commands_.pop_front();
    return command;
  }

  /// Drops what waits.
  void clear() {
    const std::lock_guard lock(mutex_);
    commands_.clear();
  }

  void close() {
    {
      const std::lock_guard lock(mutex_);
      is_closed_ = true;
    }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::Command> commands_;
  bool is_closed_ = false;
};

}  // namespace wattle::scheduler
