#include "scheduler/store/energy_accounts.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include "scheduler/store/energy_reports.h"
#include "scheduler/store/store.h"
#include "tests/support/scratch_folder.h"

namespace wattle::scheduler {
namespace {

/// What agents report and the core estimates of shares of job 3, and what the accounts say then.
class EnergyAccountsTest : public testing::Test {
 protected:
  /// All sources that a report names.
  using Report = std::map<std::string, double>;

  static EnergyTotal total(int64_t token, const std::string& source, double joules) {
    return {token, 3, "team-a", "node-1", source, joules, 0, ""};
  }

  void report(const Report& parts, int64_t token = 7) {
    StoreBatch batch;
    double sum = 0;
    for (const auto& [source, joules] : parts) sum += joules;
    for (const auto& [source, joules] : parts) {
      EnergyTotal part = total(token, source, joules);
      part.day = day_, part.share_joules = sum;
      batch.energy.push_back(part);
    }
    store_.commit(batch);
  }

  void estimate(double joules, int64_t token = 7) {
    StoreBatch batch;
    EnergyTotal estimated = total(token, kLostNodeSource, joules);
    estimated.day = day_;
    batch.energy.push_back(estimated);
    store_.commit(batch);
  }

  /// "DAY SOURCE JOULES" of all that there is.
  std::string told() {
    std::string text;
    const EnergyQuestion question{.by = EnergyQuestion::By::kDay};
    EnergyReports(path_).read(question, [&](const EnergySum& sum) {
      text += fmt::format("{} {} {}\n", sum.key, sum.source, sum.joules);
    });
    return text;
  }

  static double sum(const std::vector<EnergyRow>& rows) {
    double joules = 0;
    for (const EnergyRow& row : rows) joules += row.joules;
    return joules;
  }

  ScratchFolder folder_;
  std::string path_ = folder_.path("wattle.db");
  Store store_{path_};
  std::string day_ = "2026-11-24";
};

TEST_F(EnergyAccountsTest, AReportTakesThePlaceOfAnEstimateOnItsDay) {
  report({{"measured:nvml", 205}});
  estimate(257);
  EXPECT_EQ(told(), "2026-11-24 estimated:lost-node 257\n2026-11-24 measured:nvml 205\n");
  day_ = "2026-11-25";
  report({{"measured:nvml", 305}});
  EXPECT_EQ(told(), "2026-11-24 estimated:lost-node 157\n2026-11-24 measured:nvml 305\n");
  report({{"measured:nvml", 505}});
  EXPECT_EQ(told(), "2026-11-24 measured:nvml 462\n2026-11-25 measured:nvml 43\n")
      << "what was not foreseen is of the day of its report";
}

TEST_F(EnergyAccountsTest, AnEstimateThatWasTooMuchLeavesNothing) {
  estimate(0.1, 7);
  estimate(0.2, 8);
  estimate(0.3, 9);
  day_ = "2026-11-25";
  estimate(0, 8);
  EXPECT_EQ(told(), "2026-11-24 estimated:lost-node 0.4\n");
  estimate(0, 7);
  estimate(0, 9);
  EXPECT_EQ(told(), "") << "a report shows no bare 0";
  EXPECT_TRUE(store_.accounts().estimated().empty());
}

TEST_F(EnergyAccountsTest, OfAllSourcesNoMoreCountsThanAReportSays) {
  report({{"measured:rapl", 100}});
  report({{"estimated:model", 60}, {"measured:rapl", 50}});  // an agent that has lost its notes
  EXPECT_EQ(sum(store_.accounts().of_job(3)), 110);
  report({{"estimated:model", 80}, {"measured:rapl", 60}});
  EXPECT_EQ(sum(store_.accounts().of_job(3)), 140);
}

TEST_F(EnergyAccountsTest, RandomReportsAndEstimatesAreOneSumAndNoCounterFalls) {
  std::mt19937 random(3);
  const auto pick = [&](int below) { return static_cast<int>(random() % below); };
  std::map<int64_t, double> most, estimated;  // by share
  double reported_before = 0;
  for (int step = 0; step < 600; ++step) {
    const int64_t token = 1 + pick(6);
    day_ = fmt::format("2026-11-{}", 10 + step / 100);
    if (pick(4) == 0) {
      estimate(estimated[token] = pick(3) * 50, token);
    } else {
      const double a = pick(step + 1), b = pick(step + 1);
      report({{"measured:nvml", a}, {"estimated:model", b}}, token);
      const double growth = std::max(0.0, a + b - most[token]);
      most[token] += growth;
      estimated[token] = std::max(0.0, estimated[token] - growth);
    }
    double expected = 0, all_estimated = 0;
    for (const auto& [share, joules] : most) expected += joules;
    for (const auto& [share, joules] : estimated) all_estimated += joules;
    EnergyAccounts& accounts = store_.accounts();
    ASSERT_NEAR(sum(accounts.of_job(3)), expected + all_estimated, 1e-6) << step;
    ASSERT_NEAR(sum(accounts.estimated()), all_estimated, 1e-6) << step;
    ASSERT_GE(sum(accounts.reported()), reported_before) << step;
    reported_before = sum(accounts.reported());
  }
}

}  // namespace
}  // namespace wattle::scheduler
