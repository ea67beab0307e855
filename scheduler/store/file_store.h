#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "scheduler/store/store.h"

namespace wattle::scheduler {

/// Files by their content, below one folder: `<folder>/ab/abcdef…`, named by their SHA-256. What is
/// there is whole, and never changes. A file's time of modification is when it was last wanted: it
/// came, came again, or was renewed.
///
/// Members may be called from any thread. Throws Error(kIo) naming the path and the system's
/// reason, Error(kConfig) for a hash that is none.
class FileStore {
 public:
  explicit FileStore(std::string folder);

  /// Whether the content is there; it then counts as wanted now.
  bool renew(const std::string& sha256) const;
  bool has(const std::string& sha256) const;
  /// Removes a content unless it was wanted after `seconds` (since 1970). Nobody may read it.
  void remove(const std::string& sha256, double seconds) const;
  /// Removes every content that was last wanted before the moment that `since` (seconds since 1970)
  /// says for it, and what uploads that broke off have left.
  void remove_all(const std::function<double(const std::string& sha256)>& since) const;
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
  mutable std::mutex mutex_;  ///< between what is wanted and what is removed
};

/// Now, in seconds since 1970, by the clock of the files' times.
double file_seconds();

/// Whether the text is 64 lower-case hexadecimal digits.
bool is_sha256(std::string_view text);

/// "" or why a path may not be a file of a job: it must be relative, without "." or ".." parts,
/// empty parts or control characters, at most 1024 bytes, and 200 in a part.
std::string fault_of_job_path(const std::string& path);

}  // namespace wattle::scheduler
