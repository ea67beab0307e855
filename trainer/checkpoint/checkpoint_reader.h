#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trainer/checkpoint/files/checkpoint_meta.h"
#include "trainer/checkpoint/files/shard.h"
#include "trainer/checkpoint/files/tensor_slice.h"

namespace wattle {

/// Reads the tensors of a checkpoint in whatever pieces this rank needs, whatever pieces they were
/// written in. Only what is read is touched: the shards are mapped.
///
/// Checks structure, not checksums: find_newest_whole() and resolve_checkpoint() do that. Every
/// rank may have a reader of its own; nothing is collective.
class CheckpointReader {
 public:
  /// Throws Error(kIo) or Error(kFormat) that names the file.
  explicit CheckpointReader(const std::filesystem::path& checkpoint);

  const CheckpointMeta& meta() const { return meta_; }
  /// All tensors, by name in ascending order.
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return pieces_.contains(name); }

  /// The type a tensor is stored in. Throws Error(kFormat) if there is none of that name.
  at::ScalarType type_of(const std::string& name) const;

  /// Fills the slices' data. Throws Error(kFormat) that names the tensor if it isn't there, is of
  /// another shape or type, or lacks some of the elements.
  void read(const std::vector<TensorSlice>& slices) const;

  /// A new tensor with all of `name`, on the CPU.
  at::Tensor read_whole(const std::string& name) const;

 private:
  struct Located {
    const MappedFile* file;
    ShardPiece piece;
  };

  const std::vector<Located>& pieces_of(const std::string& name) const;
  void read_one(const TensorSlice& slice) const;

  std::filesystem::path path_;
  CheckpointMeta meta_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::map<std::string, std::vector<Located>> pieces_;
};

}  // namespace wattle
