#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace wattle {

enum class ReduceOp { kSum, kMax, kMin };

/// Memory of which every rank of a group on one host holds a part and sees all parts. Nothing is
/// left behind when a process ends, however it ends; destruction is local.
class SharedMemory {
 public:
  virtual ~SharedMemory() = default;
  /// Rank r's part, zeroed at creation, at the start of a page.
  virtual std::span<std::byte> part(int rank) = 0;
  /// Throws Error(kCommunication) that names a rank of the group that has ended. Any thread.
  virtual void check_peers() = 0;
};

/// A group of ranks that move tensors between them. Over OpenMPI for CPU tensors, NCCL for CUDA
/// tensors, and threads of one process in tests.
///
/// Every operation is collective (every rank of the group must call it, in the same order, with
/// equal sizes and types) except send and recv. Tensors are contiguous. Operations block until the
/// caller's tensor may be used again (NCCL: until kernels of the current stream may use it). Sums
/// of 16-bit floats are taken in float32. Each throws Error(kCommunication) that names rank and
/// peer; a communicator never falls back to fewer ranks. Not thread-safe: one caller at a time.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// In place.
  virtual void all_reduce(at::Tensor& tensor, ReduceOp op) = 0;
  /// input [n] of each rank, in rank order, into output [size * n].
  virtual void all_gather(const at::Tensor& input, at::Tensor& output) = 0;
  /// Sums input [size * n] over the ranks; rank r gets elements [r * n, (r + 1) * n) in output [n].
  virtual void reduce_scatter(const at::Tensor& input, at::Tensor& output) = 0;
  virtual void broadcast(at::Tensor& tensor, int root) = 0;
  virtual void send(const at::Tensor& tensor, int to) = 0;
  virtual void recv(at::Tensor& tensor, int from) = 0;
  virtual void barrier() = 0;
  /// The ranks with the same color (not negative) form a new group, ordered by key, then by rank.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
  /// `bytes` of shared memory from each rank, the same on all; null where the ranks do not share
  /// a host, or tensors do not lie in its memory.
  virtual std::unique_ptr<SharedMemory> share(int64_t bytes) = 0;
};

}  // namespace wattle
