#include "trainer/data/order/sample_order.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "common/error.h"

namespace wattle {
namespace {

using testing::ElementsAre;

std::vector<int64_t> whole(const Permutation& permutation) {
  std::vector<int64_t> images;
  for (int64_t i = 0; i < permutation.size(); ++i) images.push_back(permutation(i));
  return images;
}

std::vector<int64_t> epoch(const SampleOrder& order, int64_t size, int64_t epoch) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < size; ++i) indices.push_back(order(epoch * size + i));
  return indices;
}

std::vector<int64_t> identity(int64_t size) {
  std::vector<int64_t> all(static_cast<size_t>(size));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

TEST(Permutation, MeetsEveryIndexOnceForEverySmallSizeAndManyLargeOnes) {
  std::mt19937_64 random(1);
  std::vector<int64_t> sizes = identity(200);
  sizes.erase(sizes.begin());
  for (int i = 0; i < 40; ++i) sizes.push_back(1 + static_cast<int64_t>(random() % 50000));
  for (const int64_t size : sizes) {
    std::vector<int64_t> images = whole(Permutation(size, random()));
    std::sort(images.begin(), images.end());
    ASSERT_EQ(images, identity(size)) << "size " << size;
  }
}

TEST(Permutation, StaysInsideVastSizes) {
  const int64_t size = (int64_t{1} << 61) + 12345;
  const Permutation permutation(size, 7);
  for (int64_t i = 0; i < 1000; ++i) {
    const int64_t image = permutation(size - 1 - i);
    ASSERT_TRUE(image >= 0 && image < size);
  }
}

TEST(Permutation, IsTheSameOnEveryMachine) {
  EXPECT_THAT(whole(Permutation(10, 42)), ElementsAre(0, 9, 1, 7, 6, 5, 4, 8, 2, 3));
}

TEST(Permutation, PutsEveryIndexEverywhereEquallyOften) {
  constexpr int64_t kSize = 7, kKeys = 70000;
  std::vector<std::vector<int>> seen(kSize, std::vector<int>(kSize));
  for (int64_t key = 0; key < kKeys; ++key) {
    const Permutation permutation(kSize, key);
    for (int64_t i = 0; i < kSize; ++i) ++seen[i][permutation(i)];
  }
  double chi_square = 0;
  const double expected = static_cast<double>(kKeys) / kSize;
  for (const auto& row : seen) {
    for (const int count : row) chi_square += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_square, 76.0) << "36 degrees of freedom; 76 is passed once in ten thousand";
}

TEST(SampleOrder, ShowsEverySampleOnceAnEpochInAnotherOrder) {
  const int64_t size = 997;
  const SampleOrder order(size, 5);
  std::vector<int64_t> first = epoch(order, size, 0), second = epoch(order, size, 1);
  EXPECT_NE(first, second);
  int same_place = 0;
  for (size_t i = 0; i < first.size(); ++i) same_place += first[i] == second[i];
  EXPECT_LT(same_place, 10) << "about one index keeps its place by chance";
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  EXPECT_EQ(first, identity(size));
  EXPECT_EQ(second, identity(size));
}

TEST(SampleOrder, FollowsTheSeedAlone) {
  const SampleOrder order(500, 5), again(500, 5), other(500, 6);
  EXPECT_EQ(epoch(order, 500, 3), epoch(again, 500, 3));
  EXPECT_NE(epoch(order, 500, 3), epoch(other, 500, 3));
}

TEST(SampleOrder, RefusesAnEmptyDataset) { EXPECT_THROW(SampleOrder(0, 1), Error); }

}  // namespace
}  // namespace wattle
