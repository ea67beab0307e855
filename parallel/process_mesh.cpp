#include "parallel/process_mesh.h"

#include "common/error.h"

namespace wattle {
namespace {

constexpr std::array<const char*, ProcessMesh::kAxes> kNames = {"pipeline", "data", "context",
                                                                "expert", "tensor"};

std::string product_of(const std::array<int64_t, ProcessMesh::kAxes>& sizes) {
  std::string text;
  for (int axis = 0; axis < ProcessMesh::kAxes; ++axis) {
    if (axis > 0) text += " x ";
    text += std::string(kNames[axis]) + " " + std::to_string(sizes[axis]);
  }
  return text;
}

}  // namespace

ProcessMesh::ProcessMesh(const ParallelismOptions& options, int ranks, int rank)
    : ranks_(ranks),
      rank_(rank),
      sizes_{options.pipeline, options.data, options.context, options.expert, options.tensor} {
  const int64_t others = options.pipeline * options.context * options.expert * options.tensor;
  int64_t& data = sizes_[static_cast<int>(Axis::kData)];
  if (data == -1 && ranks % others == 0) data = ranks / others;
  if (data * others != ranks) {
    std::string message = "parallelism: " + product_of(sizes_);
    message += data == -1 ? " needs a multiple of " + std::to_string(others) + " ranks"
                          : " = " + std::to_string(data * others) + " ranks";
    throw Error(ErrorCode::kConfig,
                message + ", but the job has " + std::to_string(ranks) +
                    (data == -1 ? "" : " (data: -1 takes the ranks that the other axes leave)"));
  }
  int64_t rest = rank;
  for (int axis = kAxes - 1; axis >= 0; --axis) {
    coordinates_[axis] = rest % sizes_[axis];
    rest /= sizes_[axis];
  }
}

std::unique_ptr<Communicator> ProcessMesh::group(Communicator& world, Axis axis) const {
  // The lowest rank of the group, that with coordinate 0 on the axis, names it.
  int64_t stride = 1;
  for (int inner = kAxes - 1; inner > static_cast<int>(axis); --inner) stride *= sizes_[inner];
  const int64_t first = rank_ - coordinate(axis) * stride;
  return world.split(static_cast<int>(first), static_cast<int>(coordinate(axis)));
}

std::string ProcessMesh::to_string() const {
  return std::to_string(ranks_) + " ranks = " + product_of(sizes_);
}

}  // namespace wattle
