#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "scheduler/core/core.h"
#include "tests/scheduler/core/fake_cluster.h"

namespace wattle::scheduler {

inline const DeviceType kV100{"V100", 25, 100, 250};

/// A cluster of two nodes of four V100s each, with words for what happens in it.
class CoreStory : public testing::Test {
 protected:
  static CoreOptions options(const std::string& policy = "energy", double cap_watts = 2000) {
    CoreOptions options;
    options.cap_watts = cap_watts;
    options.policy = {policy, /*eta=*/0};
    return options;
  }

  explicit CoreStory(const CoreOptions& options = CoreStory::options()) : cluster(options, 7) {
    cluster.keep_journal = true;
    for (const char* name : {"a", "b"}) cluster.add_node(name, {kV100, 4, 60});
  }

  JobState state(JobId id) const { return cluster.job(id).state; }
  Reason reason(JobId id) const { return cluster.job(id).reason; }
  double cap_of_limits() const { return cluster.core.state().ledger.possible_watts(); }
  const scheduler::Run& run_of(JobId id) const { return *cluster.job(id).run; }

  /// Why the newest request was refused; "" if it was not.
  static std::string refusal(const std::vector<Decision>& decisions) {
    for (const Decision& decision : decisions) {
      if (const auto* refused = std::get_if<Refused>(&decision)) return refused->why;
    }
    return "";
  }
  std::vector<Decision> set_cap(double watts) {
    return cluster.apply(CapSet{"cap", watts, CapTier::kHard, {}, {}});
  }
  void give_joules(const std::string& tenant, double joules, double period_seconds) {
    cluster.apply(BudgetSet{tenant, joules, period_seconds, 1});
  }

  FakeCluster cluster;
};

}  // namespace wattle::scheduler
