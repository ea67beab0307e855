#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "trainer/checkpoint/files/checkpoint_folder.h"
#include "trainer/checkpoint/files/checkpoint_meta.h"
#include "trainer/checkpoint/files/shard.h"
#include "trainer/checkpoint/files/tensor_slice.h"

namespace wattle {

class Fields;

/// `checkpoint` of the YAML file.
struct CheckpointOptions {
  int64_t every = 0;
  int64_t keep = 3;
  bool async = true;

  void describe(Fields& f);
};

/// How far a rank is with a checkpoint, in an order by which the least over the ranks is how far
/// the checkpoint is.
enum class WriteState : int { kFailed = 0, kWriting = 1, kDurable = 2, kIdle = 3 };

/// Writes checkpoints in the background, each rank its own shard.
///
/// begin() copies the tensors and returns; a thread writes and syncs. When all ranks are done, a
/// thread of rank 0 gives the checkpoint its name. The ranks learn of each other through state():
/// the caller reduces it (minimum) with whatever collective the step has anyway and hands the
/// least to settle(). This class itself never communicates. Every rank makes the same calls.
///
///   each step:          checkpointer.settle(least over the ranks of checkpointer.state());
///   drain, before the next one and at the end:
///                       do { finish(); least = that of the ranks; settle(least); }
///                       while (least != WriteState::kIdle);
///   if it is due:       drain; checkpointer.begin(meta, slices);
///
/// One thread calls all of it.
class Checkpointer {
 public:
  /// Touches no file. `storage` is for tests; files are written by POSIX calls unless given.
  Checkpointer(const std::filesystem::path& output_dir, const CheckpointOptions& options, int rank,
               int ranks, std::unique_ptr<Storage> storage = make_posix_storage());
  /// Waits for the thread. What has not been settled leaves only a temporary folder.
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  /// What is in the folder. Not while state() is kWriting. On rank 0, before any rank's first
  /// begin(): remove_stale(), then find_newest_whole().
  CheckpointFolder& folder() { return folder_; }

  /// Whether the options ask for a checkpoint after `step` steps.
  bool due(int64_t step) const { return options_.every > 0 && step % options_.every == 0; }

  /// Takes a copy of the slices, those of this rank, and starts to write it. Allocates only the
  /// first time. With `async: false` the shard is durable on return. REQUIRES state() is kIdle on
  /// all ranks.
  void begin(const CheckpointMeta& meta, const std::vector<TensorSlice>& slices);

  WriteState state() const { return state_.load(std::memory_order_acquire); }

  /// Waits until state() is not kWriting.
  void finish();

  /// Acts on the least state over all ranks. kDurable: rank 0, kWriting again, gives the checkpoint
  /// its name and removes those that are too old. kFailed: what this rank wrote of it is removed,
  /// earlier checkpoints are as they were; throws Error(kIo) with the cause on the ranks that
  /// failed, Error(kCommunication) on the others. kWriting, kIdle: nothing.
  void settle(WriteState least);

  /// Size of the last shard of this rank.
  size_t shard_bytes() const { return snapshot_.bytes(); }

 private:
  /// Runs `work` on the thread; state() is kWriting until it is done.
  void start(void (Checkpointer::*work)(), WriteState when_done);
  void write_shard();
  void commit();
  void discard_shard();

  CheckpointOptions options_;
  int rank_;
  std::unique_ptr<Storage> storage_;
  CheckpointFolder folder_;
  CheckpointMeta meta_;  ///< of the checkpoint under way
  ShardSnapshot snapshot_;
  std::string failure_;  ///< written by the thread before state_ becomes kFailed
  std::atomic<WriteState> state_ = WriteState::kIdle;
  std::thread thread_;
  int ranks_;
};

}  // namespace wattle
