#include "trainer/checkpoint/files/storage.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "common/atomic_file.h"
#include "common/error.h"

namespace wattle {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& what, int error) {
  throw Error(ErrorCode::kIo, what + ": " + std::generic_category().message(error));
}

/// Closes a descriptor that is only read or synced.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC)) {
    if (fd_ < 0) fail("can't open " + path.string(), errno);
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

class PosixFile : public OutputFile {
 public:
  explicit PosixFile(const fs::path& path)
      : path_(path.string()),
        fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    if (fd_ < 0) fail("can't create " + path_, errno);
  }
  ~PosixFile() override {
    if (fd_ >= 0) ::close(fd_);
  }

  void write(const void* data, size_t bytes) override {
    constexpr size_t kMostAtOnce = size_t{16} << 20;
    const auto* next = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t written = ::write(fd_, next, std::min(bytes, kMostAtOnce));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail("can't write " + path_ + " at byte " + std::to_string(at_), errno);
      next += written;
      at_ += static_cast<size_t>(written);
      bytes -= static_cast<size_t>(written);
    }
  }

  void close() override {
    if (::fsync(fd_) != 0) fail("can't make " + path_ + " durable", errno);
    const int closed = ::close(fd_);
    fd_ = -1;
    if (closed != 0) fail("can't close " + path_, errno);
  }

 private:
  std::string path_;
  int fd_;
  size_t at_ = 0;
};

class PosixStorage : public Storage {
 public:
  std::unique_ptr<OutputFile> create(const fs::path& path) override {
    return std::make_unique<PosixFile>(path);
  }
  void make_directories(const fs::path& path) override {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) fail("can't create the folder " + path.string(), error.value());
  }
  void sync_directory(const fs::path& path) override {
    const Descriptor directory(path, O_RDONLY | O_DIRECTORY);
    if (::fsync(directory.get()) != 0) {
      fail("can't make the folder " + path.string() + " durable", errno);
    }
  }
  void rename(const fs::path& from, const fs::path& to) override {
    std::error_code error;
    fs::rename(from, to, error);
    if (error) fail("can't rename " + from.string() + " to " + to.string(), error.value());
  }
  bool exchange(const fs::path& one, const fs::path& other) override {
    return exchange_names(one, other);
  }
  void remove_all(const fs::path& path) override {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) fail("can't remove " + path.string(), error.value());
  }
};

}  // namespace

std::unique_ptr<Storage> make_posix_storage() { return std::make_unique<PosixStorage>(); }

}  // namespace wattle
