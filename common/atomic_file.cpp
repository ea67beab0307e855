#include "common/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "common/error.h"

namespace wattle {

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

  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  const int folder_fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (folder_fd < 0) fail("is in place, but its folder can't be opened to make that durable");
  const int synced = ::fsync(folder_fd);
  const int reason = errno;
  ::close(folder_fd);
  errno = reason;
  if (synced != 0) fail("is in place, but its folder can't be made durable");
}

void AtomicFile::fail(const char* what) const {
  const int reason = errno;
  throw Error(ErrorCode::kIo, path_ + ": " + what + " at byte " + std::to_string(offset_) + ": " +
                                  std::strerror(reason));
}

}  // namespace wattle
