#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trainer/checkpoint/files/checkpoint_meta.h"
#include "trainer/checkpoint/files/storage.h"

namespace wattle {

/// What a search for a checkpoint found.
struct FoundCheckpoint {
  std::optional<std::filesystem::path> newest;  ///< the newest whole one
  /// One line for each newer one that is broken: folder, file, byte range, expected, got.
  std::vector<std::string> warnings;
  std::vector<std::filesystem::path> broken;  ///< the folders of the warnings
};

/// "" or the first thing that is wrong with the files of a checkpoint, checksums included.
std::string find_checkpoint_defect(const std::filesystem::path& checkpoint);

/// Takes the folder of a checkpoint, the `checkpoints` folder of a run, or a run's output folder,
/// and gives the (newest whole) checkpoint there. Throws Error(kFormat) if what was named is
/// broken, Error(kIo) if there is none.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& path);

/// `output_dir/checkpoints`: the names in it and what may happen to them.
///
///   step-N                     a whole checkpoint; appears by rename, never changes
///   .step-N.tmp-A              one that attempt A is writing, or was when it was killed
///   step-N.broken-K            set aside by a run that found it broken; never removed
///   step-N.replaced            being replaced by another of the same step, where the file system
///                              can't exchange names
///
/// Reading is for all ranks; whatever changes names is for rank 0 alone, except as said.
class CheckpointFolder {
 public:
  /// Nothing is touched. `storage` must outlive this.
  CheckpointFolder(const std::filesystem::path& output_dir, Storage& storage);

  std::filesystem::path final_path(int64_t step) const;
  std::filesystem::path temporary_path(int64_t step, int64_t attempt) const;
  /// Steps of which there is a checkpoint, ascending.
  std::vector<int64_t> steps() const;

  /// Removes what killed runs were writing, and takes back what they were replacing. REQUIRES the
  /// run's lock, and that no rank writes.
  void remove_stale();

  FoundCheckpoint find_newest_whole() const;

  /// Renames a checkpoint to "<its name>.<reason>-K", K from 1.
  void set_aside(const std::filesystem::path& checkpoint, const std::string& reason);

  /// Gives a checkpoint that all ranks have written its checksum list and its name; durable on
  /// return. It takes the place of an older one of the same step, which goes.
  void commit(const CheckpointMeta& meta);

  /// Removes all but the newest `keep` checkpoints up to `step`; newer ones are left alone.
  void keep_newest(int64_t keep, int64_t step);

 private:
  void recover_replaced();
  void put_in_place(const std::filesystem::path& temporary, const std::filesystem::path& final);

  std::filesystem::path root_;
  Storage& storage_;
};

}  // namespace wattle
