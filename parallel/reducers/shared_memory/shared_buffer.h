#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "parallel/communicator.h"

namespace wattle {

/// A buffer of `numel` elements on each rank that all ranks see. Its memory lives as long as it or
/// a tensor of it.
class SharedBuffer {
 public:
  /// Collective. Throws Error(kInternal) where the ranks do not share memory.
  SharedBuffer(Communicator& communicator, int64_t numel, at::ScalarType type);

  /// This rank's part, zeros at creation.
  at::Tensor tensor() const;
  template <class T>
  T* of(int rank) const {
    return reinterpret_cast<T*>(memory_->part(rank).data());
  }

 private:
  std::shared_ptr<SharedMemory> memory_;
  int rank_;
  int64_t numel_;
  at::ScalarType type_;
};

}  // namespace wattle
