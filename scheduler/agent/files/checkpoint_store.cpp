#include "scheduler/agent/files/checkpoint_store.h"

#include <chrono>
#include <utility>

#include "common/error.h"

namespace wattle::agent {

bool CheckpointStore::poll() {
  if (storing_.valid()) {
    if (storing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return false;
    Outcome outcome = storing_.get();
    failure_ = outcome.failure;
    if (failure_.empty()) {
      stored_ = std::move(outcome.files);
      return true;
    }
  }
  if (gives_up_.stop_requested()) return false;
  if (!failure_.empty() && std::exchange(tries_again_, false)) tried_.clear();
  const std::vector<std::string> paths = checkpoint_paths(files_, account_);
  if (paths.empty() || paths.front() == tried_) return false;
  tried_ = paths.front();
  storing_ = std::async(std::launch::async, [this, paths] {
    Outcome outcome;
    try {
      for (const std::string& path : paths) {
        outcome.files.push_back(
            transfer_.store(files_.folder, path, account_, gives_up_.get_token()));
      }
    } catch (const std::exception& e) {
      // The trainer removes old checkpoints: one that has gone is no loss, a newer one is there.
      outcome.failure = gives_up_.stop_requested() ? "it took too long" : e.what();
      outcome.failure.insert(0, "the newest checkpoint was not stored: ");
    }
    return outcome;
  });
  return false;
}

}  // namespace wattle::agent
