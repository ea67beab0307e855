#include <gmock/gmock.h>

#include <cmath>

#include "scheduler/core/joules/joule_ledger.h"
#include "scheduler/core/plan/device_pool.h"
#include "scheduler/core/profile/power_curve.h"

namespace wattle::scheduler {
namespace {

const DeviceType kV100{"V100", 25, 100, 250};

std::vector<LimitSample> samples_of(const PowerCurve& truth, const std::vector<double>& limits) {
  std::vector<LimitSample> samples;
  for (double limit : limits) {
    samples.push_back({limit, truth.throughput(limit), truth.draw(limit), 5, 0});
  }
  return samples;
}

TEST(PowerCurve, ThreeLimitsFindTheCurve) {
  const PowerCurve truth{40, 60, 190};
  const auto samples = samples_of(truth, {100, 150, 225});
  const PowerCurve fit = fit_curve(kV100, samples);
  for (double limit = 100; limit <= 250; limit += 10) {
    EXPECT_NEAR(fit.throughput(limit) / truth.throughput(limit), 1, 0.05) << limit;
  }
}

TEST(PowerCurve, OneLimitSetsTheScaleAndKeepsThePriorsShape) {
  const auto samples = samples_of({10, 25, 235}, {150});
  const PowerCurve fit = fit_curve(kV100, samples);
  EXPECT_NEAR(fit.throughput(150), 10 * std::cbrt(125.0 / 210), 0.2);
  EXPECT_LT(fit.throughput(100), fit.throughput(150));
}

TEST(PowerCurve, FourMeasuredLimitsTakeOverFromTheFit) {
  std::vector<LimitSample> samples = samples_of({10, 25, 235}, {100, 150, 200});
  samples[1].units_per_second = 9.5;  // a knee that the formula can't have
  EXPECT_EQ(performance_at(fit_curve(kV100, samples), samples, 125).basis, Basis::kFitted);
  samples.push_back({250, 10, 235, 5, 0});
  const Performance p = performance_at(fit_curve(kV100, samples), samples, 125);
  EXPECT_EQ(p.basis, Basis::kMeasured);
  EXPECT_DOUBLE_EQ(p.units_per_second, (samples[0].units_per_second + 9.5) / 2);
}

/// One tenant with 1000 J a period, one run on two nodes.
class Joules : public testing::Test {
 protected:
  Joules() {
    ledger.set_budget("team", 1000, 100, 0);
    ledger.open(1, 0, 7, "team");
    ledger.open(1, 1, 7, "team");
  }
  double left() const { return *ledger.tenant_left("team"); }
  JouleLedger ledger;
};

TEST_F(Joules, LeasesNeverPromiseMoreThanThereIs) {
  EXPECT_EQ(ledger.lease(1, 0, 700), 700);
  EXPECT_EQ(ledger.lease(1, 1, 700), 300);
  EXPECT_EQ(left(), 0);
  ledger.report(1, 0, 200);
  EXPECT_EQ(left(), 0) << "what is spent was leased before";
  ledger.close(1, 0);
  EXPECT_EQ(left(), 500);
}

TEST_F(Joules, ReportsThatComeTwiceOrLateChargeOnce) {
  ledger.lease(1, 0, 700);
  for (double joules : {100, 300, 300, 200}) ledger.report(1, 0, joules);
  EXPECT_EQ(ledger.tenant_spent("team"), 300);
  EXPECT_EQ(ledger.job_spent(7), 300);
}

TEST_F(Joules, ALostShareIsEstimatedAndSettledWhenItComesBack) {
  ledger.lease(1, 0, 400);
  ledger.report(1, 0, 100);
  ledger.estimate(1, 0, 1e6);
  EXPECT_EQ(ledger.tenant_spent("team"), 400) << "never more than its lease";
  ledger.report(1, 0, 250);
  EXPECT_EQ(ledger.tenant_spent("team"), 250);
  EXPECT_EQ(left(), 750);
}

TEST_F(Joules, ANewPeriodStartsAnew) {
  ledger.lease(1, 0, 400);
  ledger.report(1, 0, 400);
  ledger.roll(99);
  EXPECT_EQ(left(), 600);
  ledger.roll(350);
  EXPECT_EQ(left(), 1000);
  EXPECT_EQ(ledger.period_end_seconds("team"), 400);
}

TEST_F(Joules, AnotherBudgetKeepsThePeriodAndWhatIsSpent) {
  ledger.lease(1, 0, 400);
  ledger.report(1, 0, 400);
  ledger.set_budget("team", 2000, 0, 50);
  EXPECT_EQ(ledger.tenant_spent("team"), 400);
  EXPECT_EQ(ledger.period_end_seconds("team"), 100);
  ledger.set_budget("team", 2000, 300, 50);
  EXPECT_EQ(ledger.tenant_spent("team"), 400);
  EXPECT_EQ(ledger.period_end_seconds("team"), 350);
  ledger.roll(350);
  EXPECT_EQ(ledger.tenant_spent("team"), 0);
}

TEST_F(Joules, TheFirstBudgetBeginsAPeriodOfThirtyDays) {
  ledger.open(2, 0, 8, "other");
  ledger.report(2, 0, 5000);
  ledger.set_budget("other", 1000, 0, 10);
  EXPECT_EQ(ledger.period_end_seconds("other"), 10 + 30 * 86400.0);
  EXPECT_EQ(ledger.tenant_left("other"), 1000) << "what was spent before is of no period";
  ledger.report(2, 0, 5200);
  ledger.set_budget("other", std::nullopt, 0, 20);
  ledger.set_budget("other", 500, 0, 30);
  EXPECT_EQ(ledger.tenant_left("other"), 300) << "also when it was unlimited in between";
}

TEST(DevicePool, PacksGangsOntoTheFewestNodes) {
  DevicePool pool;
  for (NodeId node : {0, 1}) pool.set_shared(node, true);
  for (DeviceId device = 0; device < 8; ++device) pool.add(device / 4, 0, device);
  EXPECT_EQ(pool.take(0, 1).front().node, 0);
  EXPECT_EQ(pool.take(0, 4).front().node, 1) << "the node that holds all of it";
  EXPECT_TRUE(pool.take(0, 4).empty());
  EXPECT_EQ(pool.free(0), 3);
  pool.add(1, 0, 4);
  const auto shares = pool.take(0, 4);
  ASSERT_EQ(shares.size(), 2u);
  EXPECT_EQ(shares[0].devices.size(), 3u);
}

TEST(DevicePool, AGangOverSeveralNodesTakesOnlyThoseThatShareAFolder) {
  DevicePool pool;
  for (NodeId node : {1, 3}) pool.set_shared(node, true);
  for (DeviceId device = 0; device < 8; ++device) pool.add(device / 2, 0, device);
  EXPECT_FALSE(pool.fits(0, 5));
  EXPECT_TRUE(pool.take(0, 5).empty());
  const auto shares = pool.take(0, 3);
  ASSERT_EQ(shares.size(), 2u);
  EXPECT_EQ(shares[0].node, 1);
  EXPECT_EQ(shares[1].node, 3);
  EXPECT_FALSE(pool.fits(0, 3)) << "two nodes of two are left that share nothing";
  EXPECT_TRUE(pool.fits(0, 3, shares));
  EXPECT_TRUE(pool.fits(0, 2));
  const auto pair = pool.take(0, 1);
  ASSERT_EQ(pair.front().node, 3) << "the fewest free devices that hold it";
  EXPECT_FALSE(pool.fits(0, 3, pair));
}

}  // namespace
}  // namespace wattle::scheduler
