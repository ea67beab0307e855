#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

namespace wattle {

/// A file that is being written. Destroying it without close() leaves whatever was written.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  virtual void write(const void* data, size_t bytes) = 0;
  /// Makes it durable (fsync) and closes it.
  virtual void close() = 0;
};

/// The file system's verbs that checkpoints are written with; a seam, so that tests can fill a disk
/// and pull the plug between any two of them. All throw Error(kIo) with path and cause.
/// Thread-safe.
class Storage {
 public:
  virtual ~Storage() = default;
  /// Creates or overwrites.
  virtual std::unique_ptr<OutputFile> create(const std::filesystem::path& path) = 0;
  /// Does nothing for those that exist.
  virtual void make_directories(const std::filesystem::path& path) = 0;
  /// Makes the names in a directory durable.
  virtual void sync_directory(const std::filesystem::path& path) = 0;
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// Exchanges two names at one go; false if the file system can't.
  virtual bool exchange(const std::filesystem::path& one, const std::filesystem::path& other) = 0;
  /// A file or a folder with all it holds; does nothing if there is none.
  virtual void remove_all(const std::filesystem::path& path) = 0;
};

std::unique_ptr<Storage> make_posix_storage();

}  // namespace wattle
