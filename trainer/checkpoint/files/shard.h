#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/mapped_file.h"
#include "trainer/checkpoint/files/storage.h"
#include "trainer/checkpoint/files/tensor_slice.h"

namespace wattle {

/// A stored part of a tensor: what it is, and where its bytes lie in the shard's file.
struct ShardPiece {
  std::string name;
  at::ScalarType type = at::kFloat;
  Region region;
  uint64_t offset = 0;  ///< from the start of the file
  uint64_t bytes = 0;
  std::string hash;  ///< XXH3-64 of the bytes, 16 hex digits
};

/// "shard-00000-of-00002.safetensors"
std::string shard_name(int rank, int ranks);

/// The XXH3-128 of some bytes, 32 hex digits, as `xxhsum -H2` prints it.
std::string hash_of(const void* data, size_t bytes);

/// One rank's part of a checkpoint, laid out as it will be in its file: a safetensors file whose
/// tensors are the pieces, each flat unless it is the whole tensor, and whose `__metadata__` says
/// which region of which tensor each one is (docs/CHECKPOINTS.md).
///
/// capture() copies the tensors into memory that is kept for the next time; write() may then run on
/// another thread while the tensors change.
class ShardSnapshot {
 public:
  /// Throws Error(kInternal) if a slice's data doesn't fit its region or its type can't be stored.
  void capture(const std::vector<TensorSlice>& slices);

  /// Writes and syncs the file; returns its XXH3-128. Throws Error(kIo).
  std::string write(Storage& storage, const std::filesystem::path& path);

  size_t bytes() const { return bytes_; }

 private:
  std::string header();

  std::vector<ShardPiece> pieces_;  ///< `offset` counts from the first piece here
  at::Tensor staging_;              ///< [capacity] bytes
  size_t bytes_ = 0;
};

/// The pieces of a shard's file. Throws Error(kFormat) that names the file and what is wrong in it,
/// whatever the bytes are.
std::vector<ShardPiece> read_pieces(const MappedFile& file);

/// "" or the first defect of a shard's content, with its byte range.
std::string find_defect(const MappedFile& file);

}  // namespace wattle
