#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "tests/support/scratch_folder.h"
#include "trainer/checkpoint/checkpointer.h"

namespace wattle {

/// The tensors of a small run: several types, a matrix that ranks hold by columns, others that they
/// hold by ranges, a scalar that rank 0 holds. A pure function of the seed.
class Numbers {
 public:
  explicit Numbers(uint64_t seed);

  /// What rank `rank` of `ranks` holds. Ranges share their storage, columns are copies.
  std::vector<TensorSlice> slices(int rank, int ranks) const;
  /// Puts the columns of such slices back.
  void take_columns(const std::vector<TensorSlice>& slices);

  bool equals(const Numbers& other) const;
  Numbers copy() const;
  void clear();
  int64_t numel() const;

 private:
  std::vector<at::Tensor> tensors_;  ///< the matrix, ranges, the scalar
};

/// A run's output folder, and what a run does with its checkpoints.
class CheckpointFixture : public testing::Test {
 protected:
  static Numbers numbers(uint64_t seed) { return Numbers(seed); }
  static CheckpointMeta meta(int64_t step);

  /// Writes a checkpoint of `ranks` ranks, one after the other.
  void write(int64_t step, const Numbers& numbers, int ranks = 1);
  /// Ends a checkpoint of one rank.
  static void settle(Checkpointer& checkpointer);
  /// Restores what each of `ranks` ranks holds, and puts it together.
  static Numbers read(const std::filesystem::path& checkpoint, int ranks = 1);

  CheckpointFolder folder() { return {output_dir_, *storage_}; }
  std::filesystem::path newest();

  static std::vector<std::filesystem::path> files_of(const std::filesystem::path& checkpoint);
  static void flip(const std::filesystem::path& file, int64_t offset, char mask = 4);

  at::NoGradGuard no_grad_;
  ScratchFolder scratch_;
  std::filesystem::path output_dir_ = scratch_.path();
  std::unique_ptr<Storage> storage_ = make_posix_storage();
  CheckpointOptions options_;
};

}  // namespace wattle
