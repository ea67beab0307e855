#include "scheduler/core/joules/joule_ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "scheduler/core/journal/codec.h"

namespace wattle::scheduler {
namespace {

constexpr double kBudget = 1000, kPeriodSeconds = 100, kOvershoot = 20;

/// One tenant's shares of runs, each a job's only one, beside a model that keeps every charge with
/// the period in which it was made.
class JouleHistory : public testing::Test {
 protected:
  JouleHistory() { ledger.set_budget("team", kBudget, kPeriodSeconds, 0); }

  struct Share {
    double used = 0;       ///< by the run
    double confirmed = 0;  ///< the highest report so far
    double estimate = 0;   ///< charged beyond it ...
    int64_t estimated_in = 0;
    bool is_lost = false, is_closed = false;
  };

  void open() {
    shares.emplace_back();
    const auto token = static_cast<Token>(shares.size());
    ledger.open(token, 0, static_cast<JobId>(token), "team");
  }

  void report(Token token, double total) {
    Share& share = shares[token - 1];
    ledger.report(token, 0, total);
    if (share.is_closed) return;
    double change = std::max(0.0, total - share.confirmed);
    share.confirmed += change;
    spent[share.estimated_in] -= share.estimate;
    const double foreseen = std::min(change, share.estimate);
    spent[share.estimated_in] += foreseen;
    spent[period] += change - foreseen;
    share.estimate = 0;
  }

  void lose(Token token, double joules) {
    Share& share = shares[token - 1];
    if (share.is_lost || share.is_closed) return;
    const double outstanding = std::max(0.0, ledger.leased(token, 0) - share.confirmed);
    ledger.estimate(token, 0, joules);
    share.estimate = std::min(joules, outstanding);
    share.estimated_in = period;
    spent[period] += share.estimate;
    share.is_lost = true;
  }

  void close(Token token) {
    ledger.close(token, 0);
    shares[token - 1].is_closed = true;
  }

  /// Uses a part of what is leased, or all of it and what passes until the agent has noticed.
  void use(Token token, double part) {
    Share& share = shares[token - 1];
    if (share.is_lost || share.is_closed) return;
    const double most = ledger.leased(token, 0) + kOvershoot;
    share.used += part * std::max(0.0, most - share.used);
  }

  void end_period() {
    ++period;
    ledger.roll(static_cast<double>(period) * kPeriodSeconds);
  }

  void restart() {
    std::string text;
    codec::write(text, ledger);
    JouleLedger again;
    codec::Reader(false).read(codec::json::parse(text), again, "joules");
    ledger = again;
  }

  void compare() {
    const double left = *ledger.tenant_left("team");
    ASSERT_NEAR(ledger.tenant_spent("team"), spent[period], 1e-6);
    ASSERT_GE(ledger.tenant_spent("team"), -1e-6);
    ASSERT_LE(left, kBudget);
    ASSERT_LE(left, std::max(0.0, kBudget - spent[period]) + 1e-6);
    double charged = 0;
    for (size_t i = 0; i < shares.size(); ++i) {
      const double expected = shares[i].confirmed + shares[i].estimate;
      ASSERT_NEAR(ledger.job_spent(static_cast<JobId>(i + 1)), expected, 1e-6);
      charged += expected;
    }
    double of_all_periods = 0;
    for (const auto& [number, joules] : spent) {
      of_all_periods += joules;
      ASSERT_LE(joules, kBudget + kOvershoot * static_cast<double>(shares.size()));
    }
    ASSERT_NEAR(of_all_periods, charged, 1e-6) << "nothing is charged twice or lost";
  }

  JouleLedger ledger;
  std::vector<Share> shares;
  std::map<int64_t, double> spent;  ///< by the number of the period
  int64_t period = 0;
};

TEST_F(JouleHistory, ACorrectionBelongsToThePeriodOfItsEstimate) {
  open();
  ledger.lease(1, 0, 900);
  use(1, 0.2);
  lose(1, 1e6);
  EXPECT_EQ(ledger.tenant_spent("team"), 900);
  end_period();
  report(1, 200);
  EXPECT_EQ(ledger.tenant_spent("team"), 0) << "nothing of this period was corrected";
  EXPECT_EQ(*ledger.tenant_left("team"), kBudget) << "1,700 J were left of 1,000";
  EXPECT_EQ(ledger.job_spent(1), 200) << "a job's budget has no periods";
}

TEST_F(JouleHistory, AReportBeforeTheEstimateThatComesAfterItCorrectsNothingMore) {
  open();
  ledger.lease(1, 0, 900);
  report(1, 500);
  lose(1, 1e6);
  report(1, 300);
  EXPECT_EQ(ledger.tenant_spent("team"), 500);
}

TEST_F(JouleHistory, RandomReportsEstimatesPeriodsAndRestartsChargeOnce) {
  std::mt19937_64 random(6);
  const auto uniform = [&](double from, double to) {
    return std::uniform_real_distribution<double>(from, to)(random);
  };
  const auto pick = [&](size_t below) { return static_cast<size_t>(random() % below); };
  for (int step = 0; step < 20000; ++step) {
    if (shares.empty() || (shares.size() < 40 && pick(20) == 0)) open();
    const auto token = static_cast<Token>(1 + pick(shares.size()));
    const Share& share = shares[token - 1];
    switch (pick(9)) {
      case 0:
      case 1:
        ledger.lease(token, 0, share.confirmed + uniform(0, 300));
        break;
      case 2:
      case 3:
        use(token, uniform(0, 1));
        break;
      case 4:
        report(token, share.used);
        break;
      case 5:
        report(token, uniform(0, share.used));  // late, or an earlier one again
        break;
      case 6:
        if (pick(4) == 0) lose(token, uniform(0, 400));
        break;
      case 7:
        if (pick(30) == 0) end_period();
        if (pick(30) == 0) restart();
        break;
      default:
        if (pick(40) == 0 && !share.is_closed) report(token, share.used), close(token);
    }
    compare();
    if (HasFatalFailure()) FAIL() << "at step " << step;
    if (step % 2000 == 1999)
      shares.clear(), spent.clear(), ledger = {}, period = 0,
                                     ledger.set_budget("team", kBudget, kPeriodSeconds, 0);
  }
}

}  // namespace
}  // namespace wattle::scheduler
