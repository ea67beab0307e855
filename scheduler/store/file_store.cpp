#include "scheduler/store/file_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <sstream>

#include "common/atomic_file.h"
#include "common/error.h"
#include "scheduler/digest/sha256.h"

namespace wattle::scheduler {
namespace {

/// File systems take 255; a file that is written aside has a few more.
constexpr size_t kMostPartBytes = 200;

}  // namespace

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string fault_of_job_path(const std::string& path) {
  if (path.empty() || path.size() > 1024) return "expected 1 to 1024 bytes";
  if (path.front() == '/' || path.back() == '/') return "expected a relative path of a file";
  if (std::any_of(path.begin(), path.end(),
                  [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return "has control characters";
  }
  std::stringstream stream(path);
  for (std::string part; std::getline(stream, part, '/');) {
    if (part.empty() || part == "." || part == "..") {
      return fmt::format("leaves the job's directory, or could: '{}'", part);
    }
    if (part.size() > kMostPartBytes) {
      return fmt::format("expected at most {} bytes between slashes", kMostPartBytes);
    }
  }
  return "";
}

struct FileStore::Incoming::Parts {
  const FileStore& store;
  StoredFile expected;
  std::string own;    ///< where the whole file is first
  std::string place;  ///< and then
  AtomicFile file;
  Sha256 digest;

  Parts(const FileStore& store, const StoredFile& expected, const std::string& own,
        const std::string& place)
      : store(store), expected(expected), own(own), place(place), file(own) {}
};

namespace {

namespace fs = std::filesystem;

/// An upload has ended after so long, one way or the other.
constexpr double kLongestUploadSeconds = 86400;

double seconds_of(fs::file_time_type time) {
  const auto system = std::chrono::file_clock::to_sys(time);
  return std::chrono::duration<double>(system.time_since_epoch()).count();
}

/// When a file was last wanted; nothing if it is not there any more.
std::optional<double> wanted_seconds(const fs::path& path) {
  std::error_code gone;
  const fs::file_time_type time = fs::last_write_time(path, gone);
  return gone ? std::nullopt : std::optional(seconds_of(time));
}

void remove_file(const fs::path& path) {
  std::error_code error;
  if (!fs::remove(path, error) && error) {
    throw Error(ErrorCode::kIo,
                fmt::format("{}: can't be removed: {}", path.string(), error.message()));
  }
}

}  // namespace

double file_seconds() { return seconds_of(fs::file_time_type::clock::now()); }

FileStore::FileStore(std::string folder) : folder_(std::move(folder)) {
  std::filesystem::create_directories(folder_);
}

std::string FileStore::place_of(const std::string& sha256) const {
  if (!is_sha256(sha256)) {
    throw Error(ErrorCode::kConfig,
                "sha256: expected 64 lower-case hexadecimal digits, got something else");
  }
  return fmt::format("{}/{}/{}", folder_, sha256.substr(0, 2), sha256);
}

bool FileStore::renew(const std::string& sha256) const {
  const std::lock_guard lock(mutex_);
  std::error_code gone;
  fs::last_write_time(place_of(sha256), fs::file_time_type::clock::now(), gone);
  return !gone;
}

void FileStore::remove(const std::string& sha256, double seconds) const {
  const std::lock_guard lock(mutex_);
  const std::string place = place_of(sha256);
  const auto wanted = wanted_seconds(place);
  if (wanted && *wanted <= seconds) remove_file(place);
}

void FileStore::remove_all(const std::function<double(const std::string&)>& since) const {
  std::error_code changed;
  const double oldest_upload = file_seconds() - kLongestUploadSeconds;
  for (auto entry = fs::recursive_directory_iterator(folder_, changed);
       entry != fs::recursive_directory_iterator(); entry.increment(changed)) {
    if (!entry->is_regular_file(changed)) continue;
    const std::string name = entry->path().filename();
    const double oldest = is_sha256(name) ? since(name) : oldest_upload;
    const std::lock_guard lock(mutex_);
    const auto wanted = wanted_seconds(entry->path());
    if (wanted && *wanted < oldest) remove_file(entry->path());
  }
}

bool FileStore::has(const std::string& sha256) const { return fs::exists(place_of(sha256)); }

std::string FileStore::path_of(const std::string& sha256) const {
  std::string place = place_of(sha256);
  std::error_code ignored;
  if (!fs::exists(place, ignored)) {
    throw Error(ErrorCode::kConfig, fmt::format("no file with content {} is kept", sha256));
  }
  return place;
}

FileStore::Incoming::Incoming(const FileStore& store, const StoredFile& expected) {
  const std::filesystem::path place = store.place_of(expected.sha256);
  std::filesystem::create_directories(place.parent_path());
  // Uploads of one content at the same time each have a name of their own until they are whole.
  const std::string own = fmt::format("{}.{}", place.string(), ++store.uploads_);
  parts_ = std::make_unique<Parts>(store, expected, own, place.string());
}

FileStore::Incoming::~Incoming() = default;

void FileStore::Incoming::write(std::string_view data) {
  const int64_t size = static_cast<int64_t>(parts_->file.offset() + data.size());
  if (size > parts_->expected.size_bytes) {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}: {} bytes were announced, more have come", parts_->expected.path,
                            parts_->expected.size_bytes));
  }
  parts_->digest.add(data);
  parts_->file.write(data);
}

void FileStore::Incoming::commit() {
  const StoredFile& expected = parts_->expected;
  const auto size = static_cast<int64_t>(parts_->file.offset());
  const std::string sha256 = parts_->digest.digits();
  if (size != expected.size_bytes || sha256 != expected.sha256) {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}: {} bytes of SHA-256 {} were announced, {} of {} have come",
                            expected.path, expected.size_bytes, expected.sha256, size, sha256));
  }
  if (parts_->store.renew(expected.sha256)) return;
  parts_->file.commit();
  std::filesystem::rename(parts_->own, parts_->place);
  const int folder = open(std::filesystem::path(parts_->place).parent_path().c_str(),
                          O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool durable = folder >= 0 && fsync(folder) == 0;
  const int reason = errno;
  if (folder >= 0) close(folder);
  if (!durable) {
    throw Error(ErrorCode::kIo, fmt::format("{}: {}", parts_->place, std::strerror(reason)));
  }
}

}  // namespace wattle::scheduler
