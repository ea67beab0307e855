#define OMPI_SKIP_MPICXX
#include "parallel/communicators/mpi/mpi_communicator.h"

#include <ATen/ops/empty.h>
#include <mpi.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>

#include "common/error.h"
#include "parallel/communicators/host_memory.h"
#include "parallel/communicators/mpi/mpi_status.h"
#include "parallel/communicators/tensor_checks.h"

namespace wattle {
namespace {

constexpr int kTag = 1;
/// 16-bit floats are summed in float32 pieces of this many elements (16 MiB).
constexpr int64_t kWidenedPiece = 1 << 22;

bool is_16_bit_float(at::ScalarType type) { return type == at::kBFloat16 || type == at::kHalf; }

MPI_Datatype datatype_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kByte:
      return MPI_UINT8_T;
    case at::kChar:
      return MPI_INT8_T;
    case at::kShort:
      return MPI_INT16_T;
    case at::kInt:
      return MPI_INT32_T;
    case at::kLong:
      return MPI_INT64_T;
    default:
      throw Error(ErrorCode::kInternal,
                  std::string("MPI communicator: no reduction of ") + c10::toString(type));
  }
}

MPI_Op op_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::kMax:
      return MPI_MAX;
    case ReduceOp::kMin:
      return MPI_MIN;
    default:
      return MPI_SUM;
  }
}

/// Calls `move(first, count)` for consecutive pieces of [0, total).
void in_pieces(int64_t total, int64_t largest,
               const std::function<void(int64_t first, int64_t count)>& move) {
  for (int64_t first = 0; first < total; first += largest) {
    move(first, std::min(largest, total - first));
  }
}

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, int64_t largest_count)
      : comm_(comm), largest_count_(largest_count) {
    check(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(at::Tensor& tensor, ReduceOp op) override {
    check_tensor(tensor, at::kCPU, "MPI all_reduce");
    if (is_16_bit_float(tensor.scalar_type())) return all_reduce_widened(tensor, op);
    const MPI_Datatype type = datatype_of(tensor.scalar_type());
    in_pieces(tensor.numel(), largest_count_, [&](int64_t first, int64_t count) {
      check(MPI_Allreduce(MPI_IN_PLACE, at_element(tensor, first), static_cast<int>(count), type,
                          op_of(op), comm_),
            "MPI_Allreduce");
    });
  }

  void all_gather(const at::Tensor& input, at::Tensor& output) override {
    check_tensor(input, at::kCPU, "MPI all_gather");
    check_tensor(output, at::kCPU, "MPI all_gather");
    check_sizes(input, output, size_, "MPI all_gather");
    const int64_t row_bytes = input.nbytes();
    if (row_bytes <= largest_count_) return gather_bytes(bytes(input), bytes(output), row_bytes);
    at::Tensor rows = at::empty({size_ * largest_count_}, at::kByte);
    in_pieces(row_bytes, largest_count_, [&](int64_t first, int64_t count) {
      gather_bytes(bytes(input) + first, bytes(rows), count);
      for (int rank = 0; rank < size_; ++rank) {
        std::memcpy(bytes(output) + rank * row_bytes + first, bytes(rows) + rank * count, count);
      }
    });
  }

  void reduce_scatter(const at::Tensor& input, at::Tensor& output) override {
    check_tensor(input, at::kCPU, "MPI reduce_scatter");
    check_tensor(output, at::kCPU, "MPI reduce_scatter");
    check_sizes(output, input, size_, "MPI reduce_scatter");
    const int64_t n = output.numel();
    const bool widen = is_16_bit_float(input.scalar_type());
    const int64_t largest = widen ? std::min(kWidenedPiece, largest_count_) : largest_count_;
    if (!widen && n <= largest) return sum_scatter(input, output);
    const at::Tensor rows_in = input.view({size_, n});
    in_pieces(n, largest, [&](int64_t first, int64_t count) {
      const auto type = widen ? at::kFloat : input.scalar_type();
      const at::Tensor piece = rows_in.narrow(1, first, count).to(type).contiguous();
      at::Tensor sum = at::empty({count}, type);
      sum_scatter(piece, sum);
      output.view({n}).narrow(0, first, count).copy_(sum);
    });
  }

  void broadcast(at::Tensor& tensor, int root) override {
    check_tensor(tensor, at::kCPU, "MPI broadcast");
    check_rank(root, size_, "MPI broadcast");
    in_pieces(tensor.nbytes(), largest_count_, [&](int64_t first, int64_t count) {
      check(MPI_Bcast(bytes(tensor) + first, static_cast<int>(count), MPI_BYTE, root, comm_),
            "MPI_Bcast", root);
    });
  }

  void send(const at::Tensor& tensor, int to) override {
    check_tensor(tensor, at::kCPU, "MPI send");
    check_rank(to, size_, "MPI send");
    in_pieces(tensor.nbytes(), largest_count_, [&](int64_t first, int64_t count) {
      check(MPI_Send(bytes(tensor) + first, static_cast<int>(count), MPI_BYTE, to, kTag, comm_),
            "MPI_Send", to);
    });
  }

  void recv(at::Tensor& tensor, int from) override {
    check_tensor(tensor, at::kCPU, "MPI recv");
    check_rank(from, size_, "MPI recv");
    in_pieces(tensor.nbytes(), largest_count_, [&](int64_t first, int64_t count) {
      MPI_Status status;
      check(MPI_Recv(bytes(tensor) + first, static_cast<int>(count), MPI_BYTE, from, kTag, comm_,
                     &status),
            "MPI_Recv", from);
      int received = 0;
      check(MPI_Get_count(&status, MPI_BYTE, &received), "MPI_Get_count", from);
      if (received != count) {
        throw Error(ErrorCode::kCommunication, "MPI recv on rank " + std::to_string(rank_) +
                                                   " from rank " + std::to_string(from) +
                                                   ": expected " + std::to_string(count) +
                                                   " bytes, got " + std::to_string(received));
      }
    });
  }

  void barrier() override { check(MPI_Barrier(comm_), "MPI_Barrier"); }

  std::unique_ptr<Communicator> split(int color, int key) override {
    MPI_Comm group = MPI_COMM_NULL;
    check(MPI_Comm_split(comm_, color, key, &group), "MPI_Comm_split");
    return std::make_unique<MpiCommunicator>(group, largest_count_);
  }

  std::unique_ptr<SharedMemory> share(int64_t bytes) override {
    return share_host_memory(*this, bytes);
  }

 private:
  static char* bytes(const at::Tensor& tensor) { return static_cast<char*>(tensor.data_ptr()); }
  static char* at_element(const at::Tensor& tensor, int64_t index) {
    return bytes(tensor) + index * tensor.element_size();
  }

  void check(int code, const char* call, int peer = -1) const {
    check_mpi(code, call, rank_, peer);
  }

  void all_reduce_widened(at::Tensor& tensor, ReduceOp op) {
    const at::Tensor flat = tensor.view({-1});
    in_pieces(flat.numel(), kWidenedPiece, [&](int64_t first, int64_t count) {
      at::Tensor wide = flat.narrow(0, first, count).to(at::kFloat);
      all_reduce(wide, op);
      flat.narrow(0, first, count).copy_(wide);
    });
  }

  void gather_bytes(const char* input, char* output, int64_t count) {
    const int bytes_each = static_cast<int>(count);
    check(MPI_Allgather(input, bytes_each, MPI_BYTE, output, bytes_each, MPI_BYTE, comm_),
          "MPI_Allgather");
  }

  void sum_scatter(const at::Tensor& input, at::Tensor& output) {
    check(MPI_Reduce_scatter_block(input.data_ptr(), output.data_ptr(),
                                   static_cast<int>(output.numel()),
                                   datatype_of(output.scalar_type()), MPI_SUM, comm_),
          "MPI_Reduce_scatter_block");
  }

  MPI_Comm comm_;
  int64_t largest_count_;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_world(int64_t largest_count) {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  return std::make_unique<MpiCommunicator>(comm, largest_count);
}

}  // namespace wattle
