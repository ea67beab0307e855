#pragma once

#include "common/error.h"

namespace wattle {

/// Throws Error(kCommunication) with MPI's own text for `code` unless it is MPI_SUCCESS; the
/// message names the call, this rank and, where there is one, the peer.
void check_mpi(int code, const char* call, int rank = -1, int peer = -1);

}  // namespace wattle
