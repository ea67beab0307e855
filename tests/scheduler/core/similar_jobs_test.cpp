#include <algorithm>

#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

/// Jobs of a kind, of which one has been measured on four devices.
class SimilarJobs : public CoreStory {
 protected:
  SimilarJobs() { cluster.run(1), measured_ = submit("measured", "k"), cluster.run(60); }

  JobId submit(const std::string& name, const std::string& kind) {
    return cluster.submit(name, 4, 4, 1e6, [&](Submit& s) { s.work.kind = kind; });
  }
  Performance known(JobId job) {
    State now = cluster.core.state();
    const Options& options = *now.profiles.options(now.types, now.jobs.at(job));
    return std::ranges::find(options, run_of(measured_).point, &Option::point)->performance;
  }

  JobId measured_ = 0;
};

TEST_F(SimilarJobs, AreForetoldFromWhatWasMeasuredOfOthers) {
  EXPECT_EQ(known(measured_).basis, Basis::kMeasured);
  set_cap(cap_of_limits());  // the others wait
  const JobId similar = submit("similar", "k"), other = submit("other", "");
  for (int i = 0; i < 2; ++i) {  // whoever was asked for before
    EXPECT_EQ(known(similar).basis, Basis::kSimilar);
    EXPECT_EQ(known(similar).units_per_second, known(measured_).units_per_second);
    EXPECT_EQ(known(similar).watts, known(measured_).watts);
    EXPECT_DOUBLE_EQ(known(similar).uncertainty,
                     known(measured_).uncertainty + kSimilarUncertainty);
    EXPECT_EQ(known(measured_).basis, Basis::kMeasured);
  }
  EXPECT_EQ(known(other).basis, Basis::kPrior);
}

TEST_F(SimilarJobs, AreMeasuredThemselvesOnceTheyHaveReported) {
  const JobId similar = submit("similar", "k");
  cluster.run(60);
  ASSERT_GT(cluster.job(similar).units_done, 0);
  EXPECT_EQ(known(similar).basis, Basis::kMeasured);
}

TEST_F(SimilarJobs, AreToldThatOthersWereMeasured) {
  const JobId similar = submit("similar", "k"), other = submit("other", "");
  EXPECT_THAT(cluster.core.explain(similar), HasSubstr("%, from jobs of its kind)"));
  EXPECT_THAT(cluster.core.explain(other), Not(HasSubstr("of its kind")));
  cluster.run(5);
  EXPECT_THAT(cluster.core.explain(similar),
              ContainsRegex("most progress for the watts: [^\n]*, from jobs of its kind"));
}

}  // namespace
}  // namespace wattle::scheduler
