#include "trainer/checkpoint/files/tensor_slice.h"

#include <algorithm>
#include <limits>

namespace wattle {
namespace {

/// Elements that are consecutive in the whole tensor and in the region.
struct Run {
  int64_t global = 0;
  int64_t local = 0;
  int64_t numel = 0;
};

/// How many elements of the box are consecutive in the whole tensor: full trailing dims joined.
int64_t run_length(const Region& region) {
  int64_t length = 1;
  for (size_t dim = region.box_shape.size(); dim-- > 0;) {
    length *= region.box_shape[dim];
    if (region.box_shape[dim] != region.global_shape[dim]) break;
  }
  return length;
}

/// The number in the whole tensor of element `index` of the box.
int64_t global_index(const Region& region, int64_t index) {
  int64_t global = 0, stride = 1;
  for (size_t dim = region.box_shape.size(); dim-- > 0;) {
    global += (region.box_offset[dim] + index % region.box_shape[dim]) * stride;
    index /= region.box_shape[dim];
    stride *= region.global_shape[dim];
  }
  return global;
}

std::vector<Run> runs_of(const Region& region) {
  std::vector<Run> runs;
  if (region.numel() == 0) return runs;
  const int64_t length = run_length(region);
  for (int64_t i = region.begin; i < region.end;) {
    const int64_t end = std::min(region.end, i / length * length + length);
    runs.push_back({global_index(region, i), i - region.begin, end - i});
    i = end;
  }
  return runs;
}

}  // namespace

Region Region::whole(std::vector<int64_t> shape) {
  int64_t numel = 1;
  for (int64_t size : shape) numel *= size;
  std::vector<int64_t> origin(shape.size(), 0);
  return {shape, std::move(origin), shape, 0, numel};
}

std::string Region::defect() const {
  if (box_offset.size() != global_shape.size() || box_shape.size() != global_shape.size()) {
    return "shape and box differ in their number of dims";
  }
  int64_t volume = 1, box = 1;
  for (size_t dim = 0; dim < global_shape.size(); ++dim) {
    if (global_shape[dim] < 0 || box_shape[dim] < 0 || box_offset[dim] < 0 ||
        box_offset[dim] > global_shape[dim] - box_shape[dim]) {
      return "the box sticks out of the tensor in dim " + std::to_string(dim);
    }
    if (__builtin_mul_overflow(volume, global_shape[dim], &volume)) return "the shape overflows";
    box *= box_shape[dim];
  }
  if (begin < 0 || begin > end || end > box) return "the range sticks out of the box";
  return "";
}

TensorSlice TensorSlice::whole(std::string name, const at::Tensor& tensor) {
  return {std::move(name), Region::whole(tensor.sizes().vec()), tensor.view({-1})};
}

std::vector<Overlap> overlaps(const Region& from, const Region& to) {
  const std::vector<Run> sources = runs_of(from), targets = runs_of(to);
  std::vector<Overlap> shared;
  for (auto s = sources.begin(), t = targets.begin(); s != sources.end() && t != targets.end();) {
    const int64_t begin = std::max(s->global, t->global);
    const int64_t source_end = s->global + s->numel, target_end = t->global + t->numel;
    const int64_t end = std::min(source_end, target_end);
    if (begin < end) {
      shared.push_back({s->local + begin - s->global, t->local + begin - t->global, end - begin});
    }
    source_end < target_end ? ++s : ++t;
  }
  return shared;
}

}  // namespace wattle
