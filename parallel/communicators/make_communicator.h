#pragma once

#include <c10/core/DeviceType.h>

#include <memory>

#include "parallel/communicators/mpi/mpi_session.h"
#include "parallel/parallelism_options.h"

namespace wattle {

/// The communicator of all ranks for tensors of one kind of device: `auto` is MPI for CPU tensors
/// and NCCL for CUDA tensors. Collective. Throws Error(kConfig) if `backend` can't move tensors of
/// this device, and what make_nccl_communicator throws. Must not outlive the session.
std::unique_ptr<Communicator> make_communicator(Backend backend, const MpiSession& session,
                                                c10::DeviceType device = c10::kCPU);

}  // namespace wattle
