#include "common/error.h"
#include "parallel/communicators/nccl/nccl_communicator.h"

namespace wattle {

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator>) {
  throw Error(ErrorCode::kUnsupported,
              "parallelism.backend: nccl is not in this build: build with ./launch/build.sh cuda "
              "(cmake -DWATTLE_CUDA=ON), which needs the CUDA toolkit and NCCL");
}

}  // namespace wattle
