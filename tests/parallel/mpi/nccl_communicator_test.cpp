#include "parallel/communicators/nccl/nccl_communicator.h"

#include <gmock/gmock.h>

#include "parallel/communicators/mpi/mpi_communicator.h"
#include "tests/parallel/refusal.h"

#ifdef WATTLE_CUDA
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAFunctions.h>
#endif

namespace wattle {
namespace {

#ifndef WATTLE_CUDA

TEST(NcclCommunicator, ABuildWithoutCudaSaysHowToGetIt) {
  EXPECT_THAT(contract::refusal([] { make_nccl_communicator(make_mpi_world()); }),
              testing::HasSubstr("-DWATTLE_CUDA=ON"));
}

#else

TEST(NcclCommunicator, MovesTensorsBetweenGpus) {
  auto world = make_mpi_world();
  const int devices = c10::cuda::device_count();
  if (devices < world->size()) {
    GTEST_SKIP() << "needs a GPU for each of " << world->size() << " ranks, found " << devices;
  }
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(world->rank()));
  auto nccl = make_nccl_communicator(make_mpi_world());
  const auto options = at::TensorOptions(at::kFloat).device(at::kCUDA);
  at::Tensor sum = at::arange(0, 1000, options).mul(nccl->rank() + 1);
  nccl->all_reduce(sum, ReduceOp::kSum);
  const int ranks = nccl->size();
  EXPECT_TRUE(sum.equal(at::arange(0, 1000, options).mul(ranks * (ranks + 1) / 2)));
  at::Tensor all = at::empty({10 * ranks}, options);
  nccl->all_gather(at::arange(10 * nccl->rank(), 10 * nccl->rank() + 10, options), all);
  EXPECT_TRUE(all.equal(at::arange(0, 10 * ranks, options)));
  nccl->barrier();
}

#endif

}  // namespace
}  // namespace wattle
