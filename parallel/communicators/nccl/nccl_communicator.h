#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace wattle {

/// Moves CUDA tensors of the current device, which must be another one on each rank of a host.
///
/// Operations are queued on the caller's current CUDA stream, so that they are ordered with its
/// kernels and a tensor may be freed or written by kernels of that stream right after the call; the
/// processor does not wait, except in barrier(). `bootstrap`, of the same ranks, carries NCCL's
/// identity of a new group, and that alone. Destruction is local: it gives up what is still queued,
/// so synchronise the stream before. Memory is not shared: share() returns null.
///
/// Throws Error(kCommunication) if NCCL or CUDA fails, Error(kUnsupported) if this build has no
/// NCCL. Collective. Follows the NCCL 2 API (ncclCommInitRank, blocking).
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> bootstrap);

}  // namespace wattle
