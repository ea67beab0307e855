#include "trainer/checkpoint/files/tensor_slice.h"

#include <gmock/gmock.h>

#include <map>
#include <random>

namespace wattle {
namespace {

/// Draws regions of one tensor.
class Regions {
 public:
  explicit Regions(uint64_t seed) : random_(seed) {
    const int64_t dims = draw(0, 4);
    for (int64_t dim = 0; dim < dims; ++dim) shape_.push_back(draw(1, 5));
  }

  Region any() {
    Region region = Region::whole(shape_);
    int64_t box = 1;
    for (size_t dim = 0; dim < shape_.size(); ++dim) {
      region.box_offset[dim] = draw(0, shape_[dim] - 1);
      region.box_shape[dim] = draw(0, shape_[dim] - region.box_offset[dim]);
      box *= region.box_shape[dim];
    }
    region.begin = draw(0, box);
    region.end = draw(region.begin, box);
    return region;
  }
  int64_t draw(int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random_);
  }

 private:
  std::mt19937_64 random_;
  std::vector<int64_t> shape_;
};

/// Position in the whole tensor → position in the region, one element at a time.
std::map<int64_t, int64_t> elements_of(const Region& region) {
  std::map<int64_t, int64_t> elements;
  for (int64_t i = region.begin; i < region.end; ++i) {
    int64_t global = 0, stride = 1, rest = i;
    for (size_t dim = region.box_shape.size(); dim-- > 0;) {
      global += (region.box_offset[dim] + rest % region.box_shape[dim]) * stride;
      rest /= region.box_shape[dim];
      stride *= region.global_shape[dim];
    }
    elements[global] = i - region.begin;
  }
  return elements;
}

TEST(Overlaps, AreTheCommonElements) {
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    Regions regions(seed);
    const Region from = regions.any(), to = regions.any();
    ASSERT_EQ(from.defect(), "");
    std::map<int64_t, int64_t> expected, got;  // position in `to` → position in `from`
    const std::map<int64_t, int64_t> sources = elements_of(from);
    for (const auto& [global, local] : elements_of(to)) {
      if (const auto source = sources.find(global); source != sources.end()) {
        expected[local] = source->second;
      }
    }
    for (const Overlap& part : overlaps(from, to)) {
      for (int64_t i = 0; i < part.numel; ++i) got[part.to + i] = part.from + i;
    }
    ASSERT_EQ(got, expected) << "seed " << seed;
  }
}

TEST(Overlaps, OfWholeTensorsAreOneCopy) {
  EXPECT_EQ(overlaps(Region::whole({8, 9}), Region::whole({8, 9})).size(), 1u);
}

TEST(Region, WhatSticksOutIsADefect) {
  const Region fine{{4, 5}, {1, 2}, {3, 3}, 2, 9};
  EXPECT_EQ(fine.defect(), "");
  const auto with = [&](auto change) {
    Region region = fine;
    change(region);
    return region.defect();
  };
  EXPECT_NE(with([](Region& r) { r.end = 10; }), "");
  EXPECT_NE(with([](Region& r) { r.begin = -1; }), "");
  EXPECT_NE(with([](Region& r) { r.begin = 10; }), "");
  EXPECT_NE(with([](Region& r) { r.box_offset[0] = 2; }), "");
  EXPECT_NE(with([](Region& r) { r.box_offset[1] = -1; }), "");
  EXPECT_NE(with([](Region& r) { r.box_shape.pop_back(); }), "");
  EXPECT_NE(with([](Region& r) { r.global_shape = {int64_t{1} << 62, 5}; }), "");
  EXPECT_NE(with([](Region& r) { r.box_offset[0] = INT64_MAX; }), "");
}

}  // namespace
}  // namespace wattle
