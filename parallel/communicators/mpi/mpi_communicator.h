#pragma once

#include <cstdint>
#include <memory>

#include "parallel/communicator.h"

namespace wattle {

/// Moves CPU tensors of any size between all ranks of the job, over a duplicate of MPI_COMM_WORLD;
/// MPI must be up. Collective. Calls of MPI move at most `largest_count` elements, as MPI's counts
/// are int. MPI_Finalize returns what a group holds in MPI, so that destruction stays local.
std::unique_ptr<Communicator> make_mpi_world(int64_t largest_count = 1 << 30);

}  // namespace wattle
