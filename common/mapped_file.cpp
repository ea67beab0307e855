#include "common/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "common/error.h"

namespace wattle {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw Error(ErrorCode::kIo, path + ": " + reason);
}

/// Closes on every way out.
class Descriptor {
 public:
  explicit Descriptor(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) fail(path, std::string("can't be opened: ") + std::strerror(errno));
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

int advice_of(MappedFile::Access access) {
  switch (access) {
    case MappedFile::Access::kNormal:
      return MADV_NORMAL;
    case MappedFile::Access::kSequential:
      return MADV_SEQUENTIAL;
    case MappedFile::Access::kRandom:
      return MADV_RANDOM;
  }
  throw Error(ErrorCode::kInternal, "unknown access order of a mapped file");
}

}  // namespace

MappedFile::MappedFile(std::string path, Access access) : path_(std::move(path)) {
  // O_NONBLOCK, so that a pipe is refused below instead of waited for.
  const Descriptor descriptor(path_);
  struct stat status {};
  if (::fstat(descriptor.get(), &status) != 0) {
    fail(path_, std::string("can't be examined: ") + std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) fail(path_, "expected a regular file");
  if (status.st_size == 0) return;

  const auto size = static_cast<size_t>(status.st_size);
  void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor.get(), 0);
  if (mapping == MAP_FAILED) {
    fail(path_, std::string("can't be mapped: ") + std::strerror(errno));
  }
  data_ = static_cast<const std::byte*>(mapping);
  size_ = size;
  if (::madvise(mapping, size, advice_of(access)) != 0) {
    const std::string reason = std::strerror(errno);
    unmap();
    fail(path_, "the kernel refused the access order: " + reason);
  }
}

MappedFile::~MappedFile() { unmap(); }

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  path_ = std::move(other.path_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

void MappedFile::unmap() noexcept {
  // munmap fails only on arguments that mmap never returns.
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  data_ = nullptr;
  size_ = 0;
}

}  // namespace wattle
