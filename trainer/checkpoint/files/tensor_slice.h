#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace wattle {

/// Which elements of a tensor: those numbered [begin, end), row-major, of a box within it. A tensor
/// shard is a box; what one of several replicas writes is a range of its elements.
struct Region {
  std::vector<int64_t> global_shape;
  std::vector<int64_t> box_offset;
  std::vector<int64_t> box_shape;
  int64_t begin = 0;
  int64_t end = 0;

  int64_t numel() const { return end - begin; }
  /// All of a tensor.
  static Region whole(std::vector<int64_t> shape);
  /// "" or why these numbers describe no region: wrong lengths, a box or a range that sticks out.
  std::string defect() const;
};

/// Some elements of a named tensor, on this rank. `data` is [region.numel()], contiguous, and
/// shares the storage that is saved or restored.
struct TensorSlice {
  std::string name;
  Region region;
  at::Tensor data;

  static TensorSlice whole(std::string name, const at::Tensor& tensor);
};

/// Elements that two regions of one tensor share, consecutive in both; counted from each begin.
struct Overlap {
  int64_t from = 0;
  int64_t to = 0;
  int64_t numel = 0;
};

/// All that `from` and `to` have in common, in ascending order.
std::vector<Overlap> overlaps(const Region& from, const Region& to);

}  // namespace wattle
