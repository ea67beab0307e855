#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstring>
#include <string>
#include <utility>

#include "common/error.h"
#include "parallel/communicators/nccl/nccl_communicator.h"
#include "parallel/communicators/tensor_checks.h"

namespace wattle {
namespace {

[[noreturn]] void fail(const std::string& call, int rank, int peer, const char* text) {
  throw Error(ErrorCode::kCommunication,
              call + " failed on rank " + std::to_string(rank) +
                  (peer >= 0 ? " with rank " + std::to_string(peer) : "") + ": " + text);
}

ncclDataType_t datatype_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kHalf:
      return ncclFloat16;
    case at::kBFloat16:
      return ncclBfloat16;
    case at::kByte:
      return ncclUint8;
    case at::kChar:
      return ncclInt8;
    case at::kInt:
      return ncclInt32;
    case at::kLong:
      return ncclInt64;
    default:
      throw Error(ErrorCode::kInternal,
                  std::string("NCCL communicator: no transfer of ") + c10::toString(type));
  }
}

ncclRedOp_t op_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::kMax:
      return ncclMax;
    case ReduceOp::kMin:
      return ncclMin;
    default:
      return ncclSum;
  }
}

bool is_16_bit_float(at::ScalarType type) { return type == at::kBFloat16 || type == at::kHalf; }

class NcclCommunicator : public Communicator {
 public:
  explicit NcclCommunicator(std::unique_ptr<Communicator> bootstrap)
      : bootstrap_(std::move(bootstrap)), rank_(bootstrap_->rank()), size_(bootstrap_->size()) {
    at::Tensor identity = at::zeros({NCCL_UNIQUE_ID_BYTES}, at::kByte);
    ncclUniqueId id;
    if (rank_ == 0) {
      check(ncclGetUniqueId(&id), "ncclGetUniqueId");
      std::memcpy(identity.data_ptr(), &id, sizeof(id));
    }
    bootstrap_->broadcast(identity, 0);
    std::memcpy(&id, identity.data_ptr(), sizeof(id));
    check(ncclCommInitRank(&comm_, size_, id, rank_), "ncclCommInitRank");
  }
  // Aborting is local; destroying would wait for the peers. Nothing can be told of an error here.
  ~NcclCommunicator() override { static_cast<void>(ncclCommAbort(comm_)); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(at::Tensor& tensor, ReduceOp op) override {
    check_tensor(tensor, at::kCUDA, "NCCL all_reduce");
    if (is_16_bit_float(tensor.scalar_type())) {
      at::Tensor wide = tensor.to(at::kFloat);
      all_reduce(wide, op);
      tensor.copy_(wide);
      return;
    }
    check(ncclAllReduce(tensor.data_ptr(), tensor.data_ptr(), tensor.numel(),
                        datatype_of(tensor.scalar_type()), op_of(op), comm_, stream()),
          "ncclAllReduce");
    check_later_errors();
  }

  void all_gather(const at::Tensor& input, at::Tensor& output) override {
    check_tensor(input, at::kCUDA, "NCCL all_gather");
    check_tensor(output, at::kCUDA, "NCCL all_gather");
    check_sizes(input, output, size_, "NCCL all_gather");
    check(ncclAllGather(input.data_ptr(), output.data_ptr(), input.numel(),
                        datatype_of(input.scalar_type()), comm_, stream()),
          "ncclAllGather");
    check_later_errors();
  }

  void reduce_scatter(const at::Tensor& input, at::Tensor& output) override {
    check_tensor(input, at::kCUDA, "NCCL reduce_scatter");
    check_tensor(output, at::kCUDA, "NCCL reduce_scatter");
    check_sizes(output, input, size_, "NCCL reduce_scatter");
    if (is_16_bit_float(input.scalar_type())) {
      at::Tensor wide = at::empty(output.sizes(), output.options().dtype(at::kFloat));
      reduce_scatter(input.to(at::kFloat), wide);
      output.copy_(wide);
      return;
    }
    check(ncclReduceScatter(input.data_ptr(), output.data_ptr(), output.numel(),
                            datatype_of(input.scalar_type()), ncclSum, comm_, stream()),
          "ncclReduceScatter");
    check_later_errors();
  }

  void broadcast(at::Tensor& tensor, int root) override {
    check_tensor(tensor, at::kCUDA, "NCCL broadcast");
    check_rank(root, size_, "NCCL broadcast");
    check(ncclBroadcast(tensor.data_ptr(), tensor.data_ptr(), tensor.nbytes(), ncclUint8, root,
                        comm_, stream()),
          "ncclBroadcast", root);
    check_later_errors();
  }

  void send(const at::Tensor& tensor, int to) override {
    check_tensor(tensor, at::kCUDA, "NCCL send");
    check_rank(to, size_, "NCCL send");
    check(ncclSend(tensor.data_ptr(), tensor.nbytes(), ncclUint8, to, comm_, stream()), "ncclSend",
          to);
    check_later_errors();
  }

  void recv(at::Tensor& tensor, int from) override {
    check_tensor(tensor, at::kCUDA, "NCCL recv");
    check_rank(from, size_, "NCCL recv");
    check(ncclRecv(tensor.data_ptr(), tensor.nbytes(), ncclUint8, from, comm_, stream()),
          "ncclRecv", from);
    check_later_errors();
  }

  void barrier() override {
    at::Tensor one = at::zeros({1}, at::TensorOptions(at::kFloat).device(at::kCUDA));
    all_reduce(one, ReduceOp::kSum);
    const cudaError_t error = cudaStreamSynchronize(stream());
    if (error != cudaSuccess) {
      fail("cudaStreamSynchronize", rank_, -1, cudaGetErrorString(error));
    }
    check_later_errors();
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    return std::make_unique<NcclCommunicator>(bootstrap_->split(color, key));
  }

  std::unique_ptr<SharedMemory> share(int64_t) override { return nullptr; }

 private:
  static cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

  void check(ncclResult_t result, const char* call, int peer = -1) const {
    if (result != ncclSuccess) {
      const char* text = comm_ ? ncclGetLastError(comm_) : "";
      fail(call, rank_, peer, *text ? text : ncclGetErrorString(result));
    }
  }

  /// Errors of operations that were queued earlier.
  void check_later_errors() const {
    ncclResult_t result = ncclSuccess;
    check(ncclCommGetAsyncError(comm_, &result), "ncclCommGetAsyncError");
    check(result, "an earlier NCCL operation");
  }

  std::unique_ptr<Communicator> bootstrap_;
  int rank_;
  int size_;
  ncclComm_t comm_ = nullptr;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> bootstrap) {
  return std::make_unique<NcclCommunicator>(std::move(bootstrap));
}

}  // namespace wattle
