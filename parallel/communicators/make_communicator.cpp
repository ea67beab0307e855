#include "parallel/communicators/make_communicator.h"

#include <string>

#include "common/error.h"
#include "parallel/communicators/nccl/nccl_communicator.h"

namespace wattle {

std::unique_ptr<Communicator> make_communicator(Backend backend, const MpiSession& session,
                                                c10::DeviceType device) {
  const bool is_cuda = device == c10::kCUDA;
  if (backend == Backend::kAuto) backend = is_cuda ? Backend::kNccl : Backend::kMpi;
  if ((backend == Backend::kNccl) != is_cuda) {
    throw Error(ErrorCode::kConfig, std::string("parallelism.backend: ") +
                                        (is_cuda ? "mpi moves CPU tensors, nccl is for GPUs"
                                                 : "nccl moves GPU tensors, mpi is for CPUs") +
                                        "; this run trains on " +
                                        c10::DeviceTypeName(device, true));
  }
  if (!is_cuda) return session.world();
  return make_nccl_communicator(session.world());
}

}  // namespace wattle
