#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/scheduler/core/fake_cluster.h"

namespace wattle::scheduler {
namespace {

/// Two nodes of four devices, and one tenant's jobs of one rank: so many wait at any moment, and
/// each that ends is followed by another.
class WideJobs : public testing::TestWithParam<const char*> {
 protected:
  WideJobs() : WideJobs({"a", "b"}, /*shares_jobs_dir=*/true) {}
  WideJobs(const std::vector<const char*>& nodes, bool shares_jobs_dir) : cluster(options(), 1) {
    cluster.shares_jobs_dir = shares_jobs_dir;
    cluster.speed = [](JobId, int ranks, double limit) {
      return ranks * std::cbrt((limit - 30) / 220);
    };
    for (const char* node : nodes) cluster.add_node(node, {{"V100", 25, 100, 250}, 4, 60});
    keep_waiting(16);
    cluster.run(60);
  }

  static CoreOptions options() {
    CoreOptions options;
    options.cap_watts = 20000;
    options.policy = {GetParam(), 0.5};
    return options;
  }

  JobId submit(const std::string& tenant, int ranks, double units) {
    return cluster.submit(fmt::format("job-{}", ++submitted), ranks, ranks, units, [&](Submit& s) {
      s.spec.tenant = tenant;
      s.submitter.user = tenant;
      s.submitter.most_priority = 10;
      if (!says_units) s.work.units = 0;
    });
  }
  void keep_waiting(size_t jobs) {
    while (cluster.core.state().waiting.size() < jobs) {
      submit("narrow", 1, cluster.uniform(400, 1200));
    }
  }
  /// Hours until a job is done, at most `most`.
  double hours_until_done(JobId job, double most) {
    const double since = cluster.now();
    while (!is_finished(cluster.job(job).state) && cluster.now() < since + most * 3600) {
      cluster.run(100);
      keep_waiting(16);
    }
    return (cluster.now() - since) / 3600;
  }

  FakeCluster cluster;
  int submitted = 0;
  bool says_units = true;
};

/// Each of them lasts 7 to 20 minutes; the reservation begins after 10.
TEST_P(WideJobs, GetTheirTurnAmongNarrowOnes) {
  const JobId gang = submit("wide", 8, 800);
  const double hours = hours_until_done(gang, 24);
  EXPECT_LT(hours, 1);
  EXPECT_EQ(cluster.job(gang).state, JobState::kCompleted) << cluster.core.explain(gang);
}

/// The cap leaves watts for four devices at their lowest limit.
TEST_P(WideJobs, GetTheirTurnWhereWattsAreShort) {
  cluster.apply(CapSet{"cap", 8 * 25 + 4 * 75, CapTier::kHard, {}, {}});
  const JobId gang = submit("wide", 4, 400);
  EXPECT_LT(hours_until_done(gang, 24), 2);
  EXPECT_EQ(cluster.job(gang).state, JobState::kCompleted) << cluster.core.explain(gang);
}

/// Nobody said how much work any job is.
TEST_P(WideJobs, GetTheirTurnWhereEndsAreUnknown) {
  says_units = false;
  cluster.run(3 * 3600);  // until those of the beginning are over
  keep_waiting(16);
  const JobId gang = submit("wide", 8, 800);
  EXPECT_LT(hours_until_done(gang, 24), 1.5);
  EXPECT_EQ(cluster.job(gang).state, JobState::kCompleted) << cluster.core.explain(gang);
}

/// One after the other, and each runs in one piece.
TEST_P(WideJobs, AreNotStoppedForTheNextOne) {
  for (int i = 0; i < 4; ++i) {
    const JobId gang = submit("wide", 8, 8 * 1800);
    const double hours = hours_until_done(gang, 24);
    EXPECT_LT(hours, 2);
    EXPECT_EQ(cluster.job(gang).state, JobState::kCompleted);
    EXPECT_EQ(cluster.core.explain(gang).find("stopped"), std::string::npos)
        << cluster.core.explain(gang);
  }
}

/// All devices of one node are needed, and all nodes have narrow jobs.
class WideJobsOnUnsharedNodes : public WideJobs {
 protected:
  WideJobsOnUnsharedNodes() : WideJobs({"a", "b", "c", "d", "e", "f"}, false) {}
};

TEST_P(WideJobsOnUnsharedNodes, GetTheirTurn) {
  ASSERT_EQ(cluster.core.state().widest, std::vector<int>{4});
  for (int i = 0; i < 30; ++i) {
    keep_waiting(16);
    cluster.run(60);
  }
  keep_waiting(16);
  const JobId gang = submit("wide", 4, 400);
  EXPECT_LT(hours_until_done(gang, 24), 1);
  EXPECT_EQ(cluster.job(gang).state, JobState::kCompleted) << cluster.core.explain(gang);
  const std::vector<Remark>& said = cluster.core.state().history.at(gang);
  for (size_t i = 2; i < said.size(); ++i) {
    EXPECT_NE(said[i].text, said[i - 2].text) << "what it waits for went to and fro";
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, WideJobs, testing::Values("backfill", "energy"),
                         [](const auto& policy) { return std::string(policy.param); });

INSTANTIATE_TEST_SUITE_P(Policies, WideJobsOnUnsharedNodes, testing::Values("backfill", "energy"),
                         [](const auto& policy) { return std::string(policy.param); });

}  // namespace
}  // namespace wattle::scheduler
