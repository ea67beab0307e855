#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace wattle {

/// A whole regular file, mapped read-only. Pages are read when they are touched, shared among the
/// processes of a host, and dropped again under memory pressure.
///
/// Threading: any number of threads may read. Lifetime: spans from bytes() are valid until the
/// object is destroyed; moving it does not move the bytes. The file must not be shortened while it
/// is mapped (the kernel then raises SIGBUS on a touch); whoever replaces such a file writes aside
/// and renames, see AtomicFile.
class MappedFile {
 public:
  /// The order in which the bytes are going to be touched: how far the kernel reads ahead.
  enum class Access { kNormal, kSequential, kRandom };

  /// Throws Error(kIo), naming the path and the system's reason, if it can't be opened or mapped or
  /// is no regular file. An empty file gives an empty span.
  explicit MappedFile(std::string path, Access access = Access::kNormal);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  /// Starts at a page boundary, so that an offset in the file is also the alignment in memory.
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  void unmap() noexcept;

  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace wattle
