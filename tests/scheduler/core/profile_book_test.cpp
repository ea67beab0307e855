#include "scheduler/core/profile/profile_book.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

namespace wattle::scheduler {
namespace {

/// A job on one device whose throughput follows the cube root of the limit.
class Measured : public testing::Test {
 protected:
  Measured() {
    job.id = 1;
    job.rank_counts = {1};
    job.units_done = 1;
    job.profile = ProfileBook::page_name(job);
  }
  static double truth(double limit) { return std::cbrt((limit - 25) / 225); }
  void measure(double limit, double error = 0) {
    book.record(types, job, {0, 1, limit}, truth(limit) * (1 + error), limit);
  }
  Performance at(double limit) { return book.at(types, job, {0, 1, limit}); }

  const Types types{{"V100", 25, 100, 250}};
  ProfileBook book;
  Job job;
};

TEST_F(Measured, LimitsThatHardlyDifferAreOne) {
  for (double limit : {150, 151, 153, 154}) measure(limit);
  EXPECT_EQ(at(150).basis, Basis::kFitted);
  for (double limit : {100, 200, 250}) measure(limit);
  EXPECT_EQ(at(150).basis, Basis::kMeasured);
  EXPECT_NEAR(at(152).units_per_second, truth(152), 0.002);
}

/// A plan gives any whole watt, and each is measured for a moment.
TEST_F(Measured, AtManyLimitsForAMomentEachIsKnownAsWell) {
  std::mt19937_64 random(4);
  std::normal_distribution<double> error(0, 0.05);
  std::uniform_int_distribution<int> limit(100, 250);
  for (int i = 0; i < 600; ++i) measure(limit(random), error(random));
  for (double watts = 100; watts < 250; watts += 10) {
    EXPECT_NEAR(at(watts).units_per_second / truth(watts), 1, 0.03) << watts;
    EXPECT_GT(at(watts + 10).units_per_second, at(watts).units_per_second * 0.99) << watts;
  }
}

}  // namespace
}  // namespace wattle::scheduler
