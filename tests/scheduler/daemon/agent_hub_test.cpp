#include "scheduler/daemon/agents/agent_hub.h"

#include <gtest/gtest.h>

#include <random>

namespace wattle::scheduler {
namespace {

/// Nodes that tell each second what they drew since their report before.
class ClusterWattsTest : public testing::Test {
 protected:
  void join(const std::string& node) { hub_.attach(node, "", std::make_shared<Outbox>()); }
  void tell(const std::string& node, double at, double watts) {
    hub_.heard(node, {watts, "estimated:model", at, {}});
  }
  AgentHub hub_{std::chrono::seconds(10), /*report_seconds=*/1};
};

TEST_F(ClusterWattsTest, WhatMovesBetweenNodesCountsOnce) {
  join("a"), join("b");
  tell("a", 1, 50), tell("b", 1, 0);
  tell("a", 2, 50), tell("b", 2, 0);
  tell("b", 3, 50);  // it has moved at 2 s
  EXPECT_DOUBLE_EQ(hub_.watts(), 50) << "each one's newest figures are 100 W";
  tell("a", 3, 0);
  EXPECT_DOUBLE_EQ(hub_.watts(), 50);
}

TEST_F(ClusterWattsTest, ANodeThatIsSilentIsNotWaitedFor) {
  join("a"), join("b");
  tell("b", 1, 10);
  for (int second = 1; second <= 9; ++second) tell("a", second, 10 * second);
  EXPECT_DOUBLE_EQ(hub_.watts(), 90 + 10);
}

TEST_F(ClusterWattsTest, ManyReportsWithinASecondAreAllSeen) {
  join("a"), join("b");
  for (int second = 1; second <= 5; ++second) tell("a", second, 100), tell("b", second, 100);
  for (int i = 1; i <= 8; ++i) tell("a", 5 + 0.1 * i, 0);  // runs end one after the other
  EXPECT_DOUBLE_EQ(hub_.watts(), 200) << "b has told of no more than 5 s";
}

TEST_F(ClusterWattsTest, OfNodesWhoseSumIsSteadyTheSumIsSeen) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int round = 0; round < 100; ++round) {
    const double moves_at = 2 + 3 * uniform(random);
    const auto joules = [&](bool first, double at) {  // 30 W move from the first to the second
      const double before = std::min(at, moves_at), after = at - before;
      return first ? 40 * before + 10 * after : 20 * before + 50 * after;
    };
    AgentHub hub(std::chrono::seconds(10), 1);
    hub.attach("a", "", std::make_shared<Outbox>()),
        hub.attach("b", "", std::make_shared<Outbox>());
    const double ahead = uniform(random);
    for (double at = 1; at < 8; ++at) {
      for (const bool first : {true, false}) {
        const double now = at + (first ? 0 : ahead);
        hub.heard(first ? "a" : "b",
                  {joules(first, now) - joules(first, now - 1), "estimated:model", now, {}});
        if (at == 1) continue;
        // Within the second of the change it is known only on average.
        EXPECT_NEAR(hub.watts(), 60, 30 * 0.25 + 1e-9) << moves_at << ' ' << ahead;
      }
    }
  }
}

}  // namespace
}  // namespace wattle::scheduler
