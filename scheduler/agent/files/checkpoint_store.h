#pragma once

#include <future>
#include <stop_token>
#include <string>
#include <vector>

#include "scheduler/agent/files/job_files.h"

namespace wattle::agent {

/// Gives a run's newest whole checkpoint to the daemon, in the background, so that another node can
/// go on from it: also while the run goes on, for a node may die at any time. Not thread-safe.
class CheckpointStore {
 public:
  CheckpointStore(const FileTransfer& transfer, JobFiles files, std::optional<Account> account)
      : transfer_(transfer), files_(std::move(files)), account_(std::move(account)) {}
  ~CheckpointStore() { give_up(); }

  /// Begins to store the newest checkpoint if it is another than the last one that was tried, and
  /// takes note of what has been done. True when a newer one than before is stored.
  bool poll();
  /// It may only be destroyed without delay when it is not.
  bool is_busy() const { return storing_.valid(); }
  /// Begins no more, and ends what is on its way, in the background.
  void give_up() { gives_up_.request_stop(); }
  /// Tries once more what failed, or what is on its way and will.
  void try_again() { tries_again_ = true; }

  const std::vector<v1::FileRef>& stored() const { return stored_; }
  /// Why the newest one could not be stored; "" = it was, or there is none.
  const std::string& failure() const { return failure_; }

 private:
  struct Outcome {
    std::vector<v1::FileRef> files;
    std::string failure;
  };

  const FileTransfer& transfer_;
  JobFiles files_;
  std::optional<Account> account_;
  std::stop_source gives_up_;
  std::string tried_;  // the first of its paths
  bool tries_again_ = false;
  std::future<Outcome> storing_;
  std::vector<v1::FileRef> stored_;
  std::string failure_;
};

}  // namespace wattle::agent
