#include "parallel/process_mesh.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include "common/error.h"
#include "parallel/communicators/threads/thread_communicator.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string error_of(const ParallelismOptions& options, int ranks) {
  try {
    ProcessMesh(options, ranks, 0);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kConfig);
    return e.what();
  }
  return "";
}

TEST(ProcessMesh, DataTakesTheRanksThatAreLeft) {
  const ProcessMesh mesh({.tensor = 2, .pipeline = 3}, 12, 0);
  EXPECT_EQ(mesh.size(Axis::kData), 2);
  EXPECT_EQ(mesh.to_string(), "12 ranks = pipeline 3 x data 2 x context 1 x expert 1 x tensor 2");
}

TEST(ProcessMesh, PrintsTheArithmeticThatFails) {
  EXPECT_THAT(error_of({.data = 3}, 4),
              HasSubstr("pipeline 1 x data 3 x context 1 x expert 1 x tensor 1 = 3 ranks, but the "
                        "job has 4"));
  EXPECT_THAT(error_of({.tensor = 2}, 3), HasSubstr("needs a multiple of 2 ranks, but the job has "
                                                    "3"));
}

TEST(ProcessMesh, TensorNeighboursAreMpiNeighbours) {
  const ParallelismOptions options{.tensor = 2, .pipeline = 2};
  EXPECT_EQ(ProcessMesh(options, 8, 5).coordinate(Axis::kTensor), 1);
  EXPECT_EQ(ProcessMesh(options, 8, 5).coordinate(Axis::kData), 0);
  EXPECT_EQ(ProcessMesh(options, 8, 5).coordinate(Axis::kPipeline), 1);
}

TEST(ProcessMesh, AGroupDiffersAlongItsAxisAlone) {
  run_as_threads(8, [](Communicator& world) {
    const ProcessMesh mesh({.tensor = 2, .pipeline = 2}, 8, world.rank());
    for (Axis axis : {Axis::kPipeline, Axis::kData, Axis::kTensor}) {
      auto group = mesh.group(world, axis);
      ASSERT_EQ(group->size(), mesh.size(axis));
      EXPECT_EQ(group->rank(), mesh.coordinate(axis));
      at::Tensor members = at::empty({group->size()}, at::kLong);
      group->all_gather(at::full({1}, world.rank(), at::kLong), members);
      for (int i = 0; i < group->size(); ++i) {
        const ProcessMesh other({.tensor = 2, .pipeline = 2}, 8, members[i].item<int>());
        for (Axis same : {Axis::kPipeline, Axis::kData, Axis::kTensor}) {
          EXPECT_EQ(other.coordinate(same), same == axis ? i : mesh.coordinate(same));
        }
      }
      world.barrier();
    }
  });
}

}  // namespace
}  // namespace wattle
