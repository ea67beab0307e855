#pragma once

#include <cstdint>
#include <memory>

#include "parallel/communicator.h"

namespace wattle {

/// Communicator::share for ranks that are processes: one anonymous file in memory (memfd_create),
/// made by rank 0 and opened by the others through /proc/<pid>/fd, so that no name and no limit of
/// /dev/shm is in the way. Peers are watched by pidfd. Collective over `group`, which carries CPU
/// tensors. Null if the ranks are not on one host; Error(kIo) if the memory is not to be had.
std::unique_ptr<SharedMemory> share_host_memory(Communicator& group, int64_t bytes);

}  // namespace wattle
