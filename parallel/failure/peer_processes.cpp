#include "parallel/failure/peer_processes.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <utility>

#include "common/error.h"

namespace wattle {
namespace {

// glibc 2.36 declares its own pidfd_open without C linkage.
int pidfd_open(int pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

}  // namespace

int64_t host_identity() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string identity;
  if (!std::getline(file, identity)) {
    throw Error(ErrorCode::kIo, "/proc/sys/kernel/random/boot_id: can't be read");
  }
  char name_space[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/ns/pid", name_space, sizeof(name_space));
  if (length < 0) {
    throw Error(ErrorCode::kIo, std::string("/proc/self/ns/pid: ") + std::strerror(errno));
  }
  identity.append(name_space, static_cast<size_t>(length));
  return static_cast<int64_t>(std::hash<std::string>()(identity));
}

std::string PeerProcesses::describe(const Peer& peer) {
  return "rank " + std::to_string(peer.rank) + " (process " + std::to_string(peer.pid) + ")";
}

PeerProcesses PeerProcesses::of(Communicator& group) {
  at::Tensor mine = at::empty({2}, at::kLong);
  at::Tensor all = at::empty({group.size(), 2}, at::kLong);
  mine.data_ptr<int64_t>()[0] = host_identity();
  mine.data_ptr<int64_t>()[1] = ::getpid();
  group.all_gather(mine, all);
  PeerProcesses processes;
  for (int rank = 0; rank < group.size(); ++rank) {
    const int64_t* row = all.data_ptr<int64_t>() + 2 * rank;
    if (rank == group.rank()) {
      processes.local_rank_ = static_cast<int>(processes.peers_.size());
    } else if (row[0] == mine.data_ptr<int64_t>()[0]) {
      const int pid = static_cast<int>(row[1]);
      Peer peer{rank, pid, Descriptor(pidfd_open(pid))};
      const int error = errno;
      if (peer.pidfd.get() < 0) {
        throw Error(ErrorCode::kCommunication,
                    describe(peer) + " can't be watched: " + std::strerror(error));
      }
      processes.peers_.push_back(std::move(peer));
    }
  }
  return processes;
}

const Peer* PeerProcesses::ended() const {
  std::vector<pollfd> polled;
  for (const Peer& peer : peers_) polled.push_back({peer.pidfd.get(), POLLIN, 0});
  if (::poll(polled.data(), polled.size(), 0) <= 0) return nullptr;
  for (size_t i = 0; i < polled.size(); ++i) {
    if (polled[i].revents != 0) return &peers_[i];
  }
  return nullptr;
}

void PeerProcesses::check() const {
  if (const Peer* peer = ended()) {
    throw Error(ErrorCode::kCommunication, describe(*peer) + " has ended");
  }
}

std::unique_ptr<Communicator> split_by_host(Communicator& group) {
  const at::Tensor mine = at::full({1}, host_identity(), at::kLong);
  at::Tensor hosts = at::empty({group.size()}, at::kLong);
  group.all_gather(mine, hosts);
  const int64_t* host = hosts.data_ptr<int64_t>();
  const int64_t* first = std::find(host, host + group.size(), host[group.rank()]);
  return group.split(static_cast<int>(first - host), group.rank());
}

}  // namespace wattle
