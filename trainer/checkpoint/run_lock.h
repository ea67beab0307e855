#pragma once

#include <filesystem>

namespace wattle {

/// Keeps two runs from sharing an output folder: an flock on `output_dir/.lock`, which the kernel
/// lets go when the process ends, however it ends. Held by rank 0.
class RunLock {
 public:
  /// Creates the folder if need be. Throws Error(kConfig) that names the process and host that hold
  /// it, Error(kIo) if the file can't be opened.
  explicit RunLock(const std::filesystem::path& output_dir);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_;
};

}  // namespace wattle
