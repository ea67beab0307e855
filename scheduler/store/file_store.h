#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "scheduler/store/store.h"

namespace wattle::scheduler {

/// Files by their content, below one folder: `<folder>/ab/abcdef…`, named by their SHA-256. What is
/// there is whole, and never changes.
///
/// Members may be called from any thread. Throws Error(kIo) naming the path and the system's
/// reason, Error(kConfig) for a hash that is none.
class FileStore {
 public:
  explicit FileStore(std::string folder);

  bool has(const std::string& sha256) const;
  /// Where a file's content lies. Throws Error(kConfig) if it is not there.
  std::string path_of(const std::string& sha256) const;

  /// A file on its way in. Without commit() nothing of it stays.
  class Incoming {
   public:
    Incoming(const FileStore& store, const StoredFile& expected);
    ~Incoming();
    Incoming(const Incoming&) = delete;
    Incoming& operator=(const Incoming&) = delete;

    /// Throws Error(kFormat) if more comes than was announced.
    void write(std::string_view data);
    /// Durable from here on. Throws Error(kFormat) if size or hash are not as announced.
    void commit();

   private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
  };

 private:
  std::string place_of(const std::string& sha256) const;
  std::string folder_;
  mutable std::atomic<int64_t> uploads_{0};
};

/// Whether the text is 64 lower-case hexadecimal digits.
bool is_sha256(std::string_view text);

/// "" or why a path may not be a file of a job: it must be relative, without "." or ".." parts,
/// empty parts or control characters, and at most 1024 bytes.
std::string fault_of_job_path(const std::string& path);

}  // namespace wattle::scheduler
