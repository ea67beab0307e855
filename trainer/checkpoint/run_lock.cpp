#include "trainer/checkpoint/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>

#include "common/error.h"
#include "common/host_name.h"

namespace wattle {
namespace {

std::string cause() { return std::generic_category().message(errno); }

std::string read_holder(int fd) {
  std::array<char, 256> text;
  const ssize_t bytes = ::pread(fd, text.data(), text.size(), 0);
  return bytes > 0 ? std::string(text.data(), static_cast<size_t>(bytes)) : "another run";
}

bool write_holder(int fd) {
  const std::string holder = "process " + std::to_string(::getpid()) + " on " + host_name();
  return ::ftruncate(fd, 0) == 0 &&
         ::pwrite(fd, holder.data(), holder.size(), 0) == static_cast<ssize_t>(holder.size());
}

}  // namespace

RunLock::RunLock(const std::filesystem::path& output_dir) {
  const std::filesystem::path path = output_dir / ".lock";
  std::error_code error;
  std::filesystem::create_directories(output_dir, error);
  if (error) {
    throw Error(ErrorCode::kIo,
                "can't create the folder " + output_dir.string() + ": " + error.message());
  }
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) throw Error(ErrorCode::kIo, "can't open " + path.string() + ": " + cause());
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const bool is_held = errno == EWOULDBLOCK;
    const std::string reason = is_held ? "is in use by " + read_holder(fd_) : cause();
    ::close(fd_);
    throw Error(is_held ? ErrorCode::kConfig : ErrorCode::kIo,
                "run.output_dir: " + output_dir.string() + ": " + reason);
  }
  if (!write_holder(fd_)) {
    const std::string reason = cause();
    ::close(fd_);
    throw Error(ErrorCode::kIo, "can't write " + path.string() + ": " + reason);
  }
}

RunLock::~RunLock() { ::close(fd_); }

}  // namespace wattle
