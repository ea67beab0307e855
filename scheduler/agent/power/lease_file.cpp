#include "scheduler/agent/power/lease_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>

#include "common/error.h"
#include "scheduler/agent/processes/process.h"

namespace wattle::agent {

// Both times move forward together, or back where a daemon has given shorter terms; whoever reads
// one old and one new sees a lease that is shorter than the longer of the two.
struct LeaseFile::Content {
  std::atomic<uint64_t> boot;
  std::atomic<double> watts_until;
  std::atomic<double> runs_until;
};

namespace {

uint64_t this_boot() { return std::hash<std::string>()(boot_id()); }

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Error(ErrorCode::kIo, fmt::format("{}: {}: {}", path, what, std::strerror(errno)));
}

}  // namespace

double stop_time(const Lease& lease, double stop_seconds) {
  const double patience = (lease.runs_until - lease.watts_until) / 3;
  return std::max(lease.runs_until - stop_seconds, lease.watts_until + patience);
}

LeaseFile::LeaseFile(const std::string& path, Access access) {
  const bool writes = access == Access::kWrite;
  const int fd = ::open(path.c_str(), (writes ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC, 0644);
  if (fd < 0) fail(path, "can't open");
  // posix_fallocate, so that a full disk is an error here and no SIGBUS later.
  const int full = writes ? ::posix_fallocate(fd, 0, sizeof(Content)) : 0;
  void* memory = MAP_FAILED;
  if (full == 0) {
    memory = ::mmap(nullptr, sizeof(Content), writes ? PROT_READ | PROT_WRITE : PROT_READ,
                    MAP_SHARED, fd, 0);
  } else {
    errno = full;
  }
  const int error = errno;
  ::close(fd);
  errno = error;
  if (memory == MAP_FAILED) fail(path, "can't map");
  content_ = static_cast<Content*>(memory);
  if (writes && content_->boot != this_boot()) {
    content_->watts_until = 0;
    content_->runs_until = 0;
    content_->boot = this_boot();
  }
}

LeaseFile::~LeaseFile() { ::munmap(content_, sizeof(Content)); }

void LeaseFile::renew(const Lease& lease) {
  content_->runs_until = lease.runs_until;
  content_->watts_until = lease.watts_until;
}

Lease LeaseFile::read() const {
  if (content_->boot != this_boot()) return {};
  return {content_->watts_until, content_->runs_until};
}

}  // namespace wattle::agent
