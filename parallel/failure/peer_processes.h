#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/descriptor.h"

namespace wattle {

/// Names the kernel and the pid namespace that this process runs in: equal on two ranks if and only
/// if they can signal each other and open each other's files in /proc. Throws Error(kIo).
int64_t host_identity();

/// A rank of the group that is another process of this host.
struct Peer {
  int rank;
  int pid;
  Descriptor pidfd;  ///< readable once the process has ended (pidfd_open(2))
};

/// The ranks of a group that run on this host. Safe to use from any thread.
class PeerProcesses {
 public:
  /// Collective. Throws Error(kCommunication) if one has ended already.
  static PeerProcesses of(Communicator& group);

  /// This rank's place among the ranks of this host, by rank, and their number, itself included.
  int local_rank() const { return local_rank_; }
  int local_size() const { return static_cast<int>(peers_.size()) + 1; }
  const std::vector<Peer>& peers() const { return peers_; }

  /// A rank of the group by name: "rank 1 (process 4711)".
  static std::string describe(const Peer& peer);

  /// A peer whose process has ended, or null.
  const Peer* ended() const;
  /// Throws Error(kCommunication) that names a peer whose process has ended.
  void check() const;

 private:
  int local_rank_ = 0;
  std::vector<Peer> peers_;
};

/// The ranks of `group` that run on this host, by rank. Collective.
std::unique_ptr<Communicator> split_by_host(Communicator& group);

}  // namespace wattle
