#pragma once

#include <cstdint>
#include <memory>

namespace wattle {

/// Counts the bytes of the CPU tensors that this thread makes and frees, from construction to
/// destruction; what was there before does not count. For the thread that runs forward and
/// backward: the graph of a CPU model runs in it too. Scratch memory inside a library's kernels is
/// not a tensor's.
class TensorMemory {
 public:
  TensorMemory();
  ~TensorMemory();
  TensorMemory(const TensorMemory&) = delete;
  TensorMemory& operator=(const TensorMemory&) = delete;

  /// The most that was held at once so far.
  int64_t peak_bytes() const;

 private:
  struct Watch;
  std::unique_ptr<Watch> watch_;
};

}  // namespace wattle
