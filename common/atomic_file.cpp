#include "common/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "common/error.h"

namespace wattle {

namespace fs = std::filesystem;

namespace {

/// False with errno.
bool sync_folder(const fs::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  const int synced = ::fsync(fd);
  const int reason = errno;
  ::close(fd);
  errno = reason;
  return synced == 0;
}

[[noreturn]] void fail_folder(const fs::path& folder, const char* what, const std::string& reason) {
  throw Error(ErrorCode::kIo, folder.string() + ": " + what + ": " + reason);
}

/// That another folder can take this place.
void check_place(const fs::path& folder) {
  if (fs::is_symlink(fs::symlink_status(folder))) {
    fail_folder(folder, "expected a folder", "it is a link that leads nowhere");
  }
  if (!fs::exists(folder)) return;
  if (!fs::is_directory(folder)) fail_folder(folder, "expected a folder", "it is a file");
  struct stat here = {}, above = {};
  const bool known =
      ::stat(folder.c_str(), &here) == 0 && ::stat(folder.parent_path().c_str(), &above) == 0;
  if (!known) fail_folder(folder, "can't be read", std::strerror(errno));
  if (here.st_dev == above.st_dev) return;
  fail_folder(folder, "can't be replaced",
              "a file system is mounted there; expected a folder in it");
}

/// Where a folder is while another takes its place and the file system can't exchange them.
fs::path replaced_name(const fs::path& aside) { return aside.string() + ".old"; }

}  // namespace

AtomicFile::AtomicFile(std::string path)
    : path_(std::move(path)), aside_(path_ + "." + std::to_string(::getpid()) + ".tmp") {
  fd_ = ::open(aside_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("can't be created");
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!aside_.empty()) ::unlink(aside_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  // Linux writes at most 2 GiB a call.
  constexpr size_t kPieceBytes = size_t{1} << 30;
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), std::min(bytes.size(), kPieceBytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("can't be written");
    offset_ += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) fail("can't be made durable");
  const int closed = ::close(std::exchange(fd_, -1));
  if (closed != 0) fail("can't be closed");
  if (::rename(aside_.c_str(), path_.c_str()) != 0) fail("can't be renamed into place");
  aside_.clear();

  if (!sync_folder(fs::path(path_).parent_path())) {
    fail("is in place, but its folder can't be made durable");
  }
}

void AtomicFile::fail(const char* what) const {
  const int reason = errno;
  throw Error(ErrorCode::kIo, path_ + ": " + what + " at byte " + std::to_string(offset_) + ": " +
                                  std::strerror(reason));
}

bool exchange_names(const fs::path& one, const fs::path& other) {
  if (::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0)
    return true;
  if (errno == EINVAL || errno == ENOSYS) return false;
  fail_folder(other, "can't be replaced", std::strerror(errno));
}

AtomicFolder::AtomicFolder(const fs::path& path) {
  std::error_code error;
  path_ = fs::weakly_canonical(path, error);
  if (!path_.has_filename()) path_ = path_.parent_path();
  if (error) fail_folder(path, "can't be found", error.message());
  check_place(path_);
  aside_ = path_.parent_path() / ".";
  aside_ += path_.filename();
  aside_ += ".tmp";
  const fs::path old = replaced_name(aside_);
  if (fs::exists(old) && !fs::exists(path_)) fs::rename(old, path_, error);
  if (error) fail_folder(old, "can't be taken back", error.message());
  fs::remove_all(aside_, error);
  if (error) fail_folder(aside_, "can't be removed", error.message());
  if (!fs::exists(path_)) {
    fs::create_directories(aside_, error);
  } else {
    using Options = fs::copy_options;
    fs::copy(path_, aside_,
             Options::recursive | Options::create_hard_links | Options::copy_symlinks, error);
  }
  if (error) fail_folder(path_, "can't be written aside", error.message());
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  fs::remove_all(aside_, ignored);
}

void AtomicFolder::commit() {
  std::error_code error;
  if (!fs::exists(path_)) {
    fs::rename(aside_, path_, error);
  } else if (!exchange_names(aside_, path_)) {
    const fs::path old = replaced_name(aside_);
    fs::remove_all(old, error);
    if (!error) fs::rename(path_, old, error);
    if (!error) fs::rename(aside_, path_, error);
    if (!error) fs::remove_all(old, error);
  }
  if (error) fail_folder(path_, "can't be renamed into place", error.message());
  if (!sync_folder(path_.parent_path())) {
    fail_folder(path_, "is in place, but its folder can't be made durable", std::strerror(errno));
  }
}

}  // namespace wattle
