#include "parallel/reducers/shared_memory/shared_buffer.h"

#include <ATen/ops/from_blob.h>

#include "common/error.h"

namespace wattle {

SharedBuffer::SharedBuffer(Communicator& communicator, int64_t numel, at::ScalarType type)
    : memory_(communicator.share(numel * static_cast<int64_t>(c10::elementSize(type)))),
      rank_(communicator.rank()),
      numel_(numel),
      type_(type) {
  if (!memory_) throw Error(ErrorCode::kInternal, "shared buffer: the ranks do not share memory");
}

at::Tensor SharedBuffer::tensor() const {
  return at::from_blob(
      memory_->part(rank_).data(), {numel_}, [memory = memory_](void*) {},
      at::TensorOptions(type_));
}

}  // namespace wattle
