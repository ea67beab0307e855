#define OMPI_SKIP_MPICXX
#include "parallel/communicators/mpi/mpi_status.h"

#include <mpi.h>

#include <string>

namespace wattle {

void check_mpi(int code, const char* call, int rank, int peer) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) length = 0;
  std::string message = std::string(call) + " failed";
  if (rank >= 0) message += " on rank " + std::to_string(rank);
  if (peer >= 0) message += " with rank " + std::to_string(peer);
  message += ": " + (length > 0 ? std::string(text, length) : "MPI error " + std::to_string(code));
  throw Error(ErrorCode::kCommunication, message);
}

}  // namespace wattle
