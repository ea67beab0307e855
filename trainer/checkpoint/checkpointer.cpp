#include "trainer/checkpoint/checkpointer.h"

#include <fmt/format.h>

#include "common/config/schema.h"
#include "common/error.h"

namespace wattle {

void CheckpointOptions::describe(Fields& f) {
  f("every", every, "steps between checkpoints; 0 for one at the end alone")
      .at_least(0)
      .unit("steps");
  f("keep", keep, "the newest ones that stay").at_least(1);
  f("async", async, "write in the background while training goes on");
}

Checkpointer::Checkpointer(const std::filesystem::path& output_dir,
                           const CheckpointOptions& options, int rank, int ranks,
                           std::unique_ptr<Storage> storage)
    : options_(options),
      rank_(rank),
      storage_(std::move(storage)),
      folder_(output_dir, *storage_),
      ranks_(ranks) {}

Checkpointer::~Checkpointer() { finish(); }

void Checkpointer::begin(const CheckpointMeta& meta, const std::vector<TensorSlice>& slices) {
  finish();
  if (state() != WriteState::kIdle) {
    throw Error(ErrorCode::kInternal,
                fmt::format("checkpoint step-{}: the one of step {} is not settled", meta.step,
                            meta_.step));
  }
  meta_ = meta;
  meta_.ranks = ranks_;
  snapshot_.capture(slices);
  start(&Checkpointer::write_shard, WriteState::kDurable);
}

void Checkpointer::start(void (Checkpointer::*work)(), WriteState when_done) {
  state_ = WriteState::kWriting;
  thread_ = std::thread([this, work, when_done] {
    try {
      (this->*work)();
      state_.store(when_done, std::memory_order_release);
    } catch (const std::exception& error) {
      failure_ = fmt::format("checkpoint step-{}: rank {}: {}", meta_.step, rank_, error.what());
      state_.store(WriteState::kFailed, std::memory_order_release);
    }
  });
  if (!options_.async) finish();
}

void Checkpointer::finish() {
  if (thread_.joinable()) thread_.join();
}

void Checkpointer::write_shard() {
  const std::filesystem::path folder = folder_.temporary_path(meta_.step, meta_.attempt);
  const std::string name = shard_name(rank_, ranks_);
  storage_->make_directories(folder);
  const std::string hash = snapshot_.write(*storage_, folder / name);
  const std::string line = fmt::format("{}  {}\n", hash, name);
  const auto file = storage_->create(folder / (name + ".xxh3"));
  file->write(line.data(), line.size());
  file->close();
  storage_->sync_directory(folder);
}

void Checkpointer::commit() {
  try {
    folder_.commit(meta_);
  } catch (...) {
    storage_->remove_all(folder_.temporary_path(meta_.step, meta_.attempt));
    throw;
  }
  folder_.keep_newest(options_.keep, meta_.step);
}

void Checkpointer::settle(WriteState least) {
  if (least == WriteState::kWriting || least == WriteState::kIdle) return;
  finish();
  const WriteState mine = state_.exchange(WriteState::kIdle);
  if (least == WriteState::kDurable) {
    if (rank_ == 0) start(&Checkpointer::commit, WriteState::kIdle);
    return;
  }
  discard_shard();
  if (mine == WriteState::kFailed) throw Error(ErrorCode::kIo, failure_);
  throw Error(ErrorCode::kCommunication,
              fmt::format("checkpoint step-{}: another rank could not write it", meta_.step));
}

void Checkpointer::discard_shard() {
  const std::filesystem::path folder = folder_.temporary_path(meta_.step, meta_.attempt);
  const std::string name = shard_name(rank_, ranks_);
  storage_->remove_all(folder / name);
  storage_->remove_all(folder / (name + ".xxh3"));
  std::error_code not_empty_yet;  // the last rank to discard removes the folder
  std::filesystem::remove(folder, not_empty_yet);
}

}  // namespace wattle
