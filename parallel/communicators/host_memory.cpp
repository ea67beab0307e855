#include "parallel/communicators/host_memory.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <utility>

#include "common/error.h"
#include "parallel/descriptor.h"
#include "parallel/failure/peer_processes.h"

namespace wattle {
namespace {

[[noreturn]] void fail(const std::string& what, int error) {
  throw Error(ErrorCode::kIo, "shared memory: " + what + ": " + std::strerror(error));
}

class HostMemory : public SharedMemory {
 public:
  HostMemory(int fd, int64_t part_bytes, int ranks, PeerProcesses peers)
      : part_bytes_(part_bytes), ranks_(ranks), peers_(std::move(peers)) {
    base_ = ::mmap(nullptr, part_bytes_ * ranks_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base_ == MAP_FAILED) fail("mapping " + std::to_string(part_bytes_ * ranks_), errno);
  }
  ~HostMemory() override { ::munmap(base_, part_bytes_ * ranks_); }

  std::span<std::byte> part(int rank) override {
    return {static_cast<std::byte*>(base_) + rank * part_bytes_, static_cast<size_t>(part_bytes_)};
  }

  void check_peers() override { peers_.check(); }

 private:
  int64_t part_bytes_;
  int ranks_;
  PeerProcesses peers_;
  void* base_ = nullptr;
};

/// Whether `value` is the same on all ranks.
bool same_everywhere(Communicator& group, int64_t value) {
  at::Tensor extremes = at::empty({2}, at::kLong);
  extremes.data_ptr<int64_t>()[0] = value;
  extremes.data_ptr<int64_t>()[1] = ~value;  // its maximum is the complement of the minimum
  group.all_reduce(extremes, ReduceOp::kMax);
  return extremes.data_ptr<int64_t>()[0] == ~extremes.data_ptr<int64_t>()[1];
}

/// Runs one rank's part of a collective step; if it fails on any rank, it throws on all of them.
void on_all_ranks(Communicator& group, const std::function<void()>& part) {
  std::exception_ptr mine;
  try {
    part();
  } catch (const Error&) {
    mine = std::current_exception();
  }
  at::Tensor failed_rank = at::full({1}, mine ? group.rank() : -1, at::kLong);
  group.all_reduce(failed_rank, ReduceOp::kMax);
  if (mine) std::rethrow_exception(mine);
  const int64_t rank = *failed_rank.data_ptr<int64_t>();
  if (rank >= 0) {
    throw Error(ErrorCode::kIo, "shared memory: failed on rank " + std::to_string(rank));
  }
}

int64_t whole_pages(int64_t bytes) {
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  return std::max<int64_t>(1, (bytes + page - 1) / page) * page;
}

}  // namespace

std::unique_ptr<SharedMemory> share_host_memory(Communicator& group, int64_t bytes) {
  if (!same_everywhere(group, host_identity())) return nullptr;
  const int64_t part_bytes = whole_pages(bytes);
  if (!same_everywhere(group, part_bytes)) {
    throw Error(ErrorCode::kInternal,
                "shared memory: ranks ask for different sizes, this one for " +
                    std::to_string(bytes) + " bytes");
  }
  at::Tensor address = at::empty({2}, at::kLong);  // of the file: pid and descriptor of rank 0
  int64_t* place = address.data_ptr<int64_t>();
  place[0] = ::getpid();
  place[1] = -1;
  if (group.rank() == 0) place[1] = ::memfd_create("wattle", MFD_CLOEXEC);
  const int create_error = errno;
  Descriptor created(static_cast<int>(place[1]));
  group.broadcast(address, 0);
  if (place[1] < 0) fail("memfd_create on rank 0", group.rank() == 0 ? create_error : EIO);

  const std::string path = "/proc/" + std::to_string(place[0]) + "/fd/" + std::to_string(place[1]);
  Descriptor opened(group.rank() == 0 ? -1 : ::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const int open_error = errno;
  const int fd = group.rank() == 0 ? created.get() : opened.get();
  PeerProcesses peers = PeerProcesses::of(group);
  std::unique_ptr<SharedMemory> memory;
  on_all_ranks(group, [&] {
    if (fd < 0) fail("opening " + path, open_error);
    // Each rank takes its own part's pages: a lack of memory is an error here, no SIGBUS later, and
    // the pages lie near the rank's core.
    const int error = ::posix_fallocate(fd, group.rank() * part_bytes, part_bytes);
    if (error != 0) fail(std::to_string(part_bytes) + " bytes", error);
    memory = std::make_unique<HostMemory>(fd, part_bytes, group.size(), std::move(peers));
  });
  return memory;
}

}  // namespace wattle
