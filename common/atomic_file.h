#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
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

/// Exchanges two names of one file system at one go. False if it can't do that (NFS). Throws
/// Error(kIo).
bool exchange_names(const std::filesystem::path& one, const std::filesystem::path& other);

/// Writes into a folder and shows all of it in one step: a reader of `path` sees the old files or
/// the new ones, also after a crash.
///
///     AtomicFolder folder(path);
///     write_files_into(folder.aside());
///     folder.commit();
///
/// aside() is `.<name>.tmp` beside the folder; it begins with links to what the folder holds, so
/// that files which are not written anew stay. REQUIRES that files there are replaced (AtomicFile),
/// not changed in place. commit() exchanges the two; on a file system that can't (NFS), nothing
/// stands at `path` for the moment between two renames; the next AtomicFolder for it takes back
/// what a kill left there. Without commit() the destructor removes aside(), as the next
/// AtomicFolder does for one that was killed.
///
/// Threading: one AtomicFolder for a path at a time. Throws Error(kIo).
class AtomicFolder {
 public:
  explicit AtomicFolder(const std::filesystem::path& path);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::filesystem::path& aside() const { return aside_; }
  /// REQUIRES that the files in aside() are durable.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path aside_;
};

}  // namespace wattle
