#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace wattle {

/// Writes a file aside and puts it in its place in one step: a reader of `path` sees the old
/// content or the whole new one, also after a crash or on a full disk.
///
/// The bytes go to `<path>.<pid>.tmp` in the same folder. commit() makes them durable (fsync of the
/// file, rename, fsync of the folder). Without commit() the destructor removes the file aside, and
/// what stood at `path` stays.
///
/// Threading: one thread, and one AtomicFile for a path within a process at a time.
class AtomicFile {
 public:
  /// Throws Error(kIo), as every member here does, naming the path and the system's reason.
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Bytes written so far.
  uint64_t offset() const { return offset_; }
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::string path_;
  std::string aside_;
  int fd_ = -1;
  uint64_t offset_ = 0;
};

}  // namespace wattle
