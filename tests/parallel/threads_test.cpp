#include "parallel/threads.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <stdlib.h>

#include <numeric>
#include <string>

#include "common/error.h"
#include "parallel/communicators/threads/thread_communicator.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using Cores = std::vector<int>;

std::vector<Cores> cores_of(const std::vector<Cores>& masks) {
  std::vector<Cores> cores;
  for (const CoreShare& share : deal_cores(masks)) cores.push_back(share.cores);
  return cores;
}

TEST(DealCores, OneRankHasThemAll) { EXPECT_THAT(cores_of({{0, 1}}), ElementsAre(Cores{0, 1})); }

TEST(DealCores, RanksWithTheSameMaskPartIt) {
  EXPECT_THAT(cores_of({{0, 1}, {0, 1}}), ElementsAre(Cores{0}, Cores{1}));
  EXPECT_THAT(cores_of({{2, 3, 6, 7}, {2, 3, 6, 7}}), ElementsAre(Cores{2, 3}, Cores{6, 7}));
  EXPECT_THAT(cores_of({{0, 1, 2}, {0, 1, 2}}), ElementsAre(Cores{0}, Cores{1}));
}

TEST(DealCores, RanksBoundToTheirOwnCoresKeepThem) {
  EXPECT_THAT(cores_of({{4, 5}, {0}, {1, 2, 3}}),
              ElementsAre(Cores{4, 5}, Cores{0}, Cores{1, 2, 3}));
}

TEST(DealCores, MoreRanksThanCoresShare) {
  const auto shares = deal_cores({{0, 1}, {0, 1}, {0, 1}});
  EXPECT_THAT(cores_of({{0, 1}, {0, 1}, {0, 1}}), ElementsAre(Cores{0}, Cores{1}, Cores{0}));
  EXPECT_FALSE(shares[0].exclusive);
  EXPECT_TRUE(shares[1].exclusive);
  EXPECT_FALSE(shares[2].exclusive);
}

TEST(DealCores, EveryRankHasACoreOfItsMaskAndNoneIsExclusiveTwice) {
  for (int ranks = 1; ranks <= 9; ++ranks) {
    for (int cores = 1; cores <= 9; ++cores) {
      Cores mask(cores);
      std::iota(mask.begin(), mask.end(), 0);
      const auto shares = deal_cores(std::vector<Cores>(ranks, mask));
      std::vector<int> users(cores);
      for (const CoreShare& share : shares) {
        ASSERT_EQ(share.cores.size(), static_cast<size_t>(std::max(1, cores / ranks)))
            << ranks << " ranks, " << cores << " cores";
        for (int core : share.cores) ++users.at(core);
      }
      for (const CoreShare& share : shares) {
        for (int core : share.cores) EXPECT_EQ(share.exclusive, users[core] == 1);
      }
    }
  }
}

/// Puts the environment's OMP_NUM_THREADS and the threads of LibTorch back.
class SetThreadsTest : public testing::Test {
 protected:
  SetThreadsTest() {
    if (const char* text = ::getenv("OMP_NUM_THREADS")) before_ = text;
    ::unsetenv("OMP_NUM_THREADS");
  }
  ~SetThreadsTest() override {
    ::unsetenv("OMP_NUM_THREADS");
    if (!before_.empty()) ::setenv("OMP_NUM_THREADS", before_.c_str(), 1);
  }
  /// What set_threads says on one rank, and the threads that LibTorch then has.
  std::pair<std::string, int> set(const ThreadOptions& options) {
    std::pair<std::string, int> result;
    run_as_threads(1, [&](Communicator& c) {
      result.first = set_threads(c, options);
      result.second = at::get_num_threads();
    });
    return result;
  }
  std::string before_;
};

TEST_F(SetThreadsTest, FollowsTheAffinityMask) {
  EXPECT_EQ(set({}).second, static_cast<int>(affinity_mask().size()));
}

TEST_F(SetThreadsTest, TheOptionGoesBeforeTheEnvironmentAndThatBeforeTheMask) {
  ::setenv("OMP_NUM_THREADS", "3", 1);
  EXPECT_EQ(set({}).second, 3);
  EXPECT_EQ(set({.threads = 2}).second, 2);
}

TEST_F(SetThreadsTest, RefusesAnEnvironmentThatIsNoNumber) {
  ::setenv("OMP_NUM_THREADS", "many", 1);
  EXPECT_THROW(set({}), Error);
  ::setenv("OMP_NUM_THREADS", "0", 1);
  EXPECT_THROW(set({}), Error);
}

TEST_F(SetThreadsTest, PinsRanksOfAHostToTheirOwnCores) {
  const size_t cores = affinity_mask().size();
  run_as_threads(2, [&](Communicator& c) {
    set_threads(c, {.threads = 1, .pin = true});
    EXPECT_EQ(affinity_mask().size(), std::max<size_t>(1, cores / 2));
  });
  EXPECT_EQ(affinity_mask().size(), cores) << "the calling thread is not bound";
}

}  // namespace
}  // namespace wattle
