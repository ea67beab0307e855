#include "scheduler/core/power/cap_schedule.h"

#include <random>

#include "scheduler/core/journal/state_text.h"
#include "tests/scheduler/core/core_story.h"

namespace wattle::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kForever = std::numeric_limits<double>::infinity();

/// The caps as they were set: the newest of those that hold counts.
struct NaiveCaps {
  struct Cap {
    double set, from, until, watts;
  };
  std::vector<Cap> caps;
  double at(double seconds) const {
    for (auto cap = caps.rbegin(); cap != caps.rend(); ++cap) {
      if (cap->from <= seconds && seconds < cap->until) return cap->watts;
    }
    return 0;
  }
};

TEST(CapSchedule, IsTheNewestOfTheCapsThatWereSetForAMoment) {
  std::mt19937_64 random(7);
  const auto pick = [&](int n) { return static_cast<double>(random() % n); };
  for (int round = 0; round < 200; ++round) {
    CapSchedule caps(1000);
    NaiveCaps naive{{{0, -kForever, kForever, 1000}}};
    double now = 0;
    for (int set = 0; set < 20; ++set) {
      now += pick(10);
      caps.forget_before(now);
      const double from = now + (pick(2) ? pick(60) : 0);
      const double until = pick(3) ? from + 1 + pick(40) : kForever;
      const double watts = 100 * (1 + pick(8));
      caps.set(watts, from, until);
      naive.caps.push_back({now, from, until, watts});
      double lowest = kForever, highest = 0;
      std::vector<CapChange> changes;
      for (double t = now; t < now + 200; ++t) {
        ASSERT_EQ(caps.at(t), naive.at(t)) << "round " << round << ", at " << t << " of " << now;
        if (t <= now + 30) lowest = std::min(lowest, naive.at(t));
        highest = std::max(highest, naive.at(t));
        if (t > now && naive.at(t) != naive.at(t - 1)) changes.push_back({t, naive.at(t)});
      }
      ASSERT_EQ(caps.lowest(now, now + 30), lowest);
      ASSERT_EQ(caps.highest_from(now), highest);
      ASSERT_EQ(caps.changes_after(now), changes);
    }
  }
}

TEST(CapSchedule, TakesOverTheWindowsOfAnOlderState) {
  CoreOptions options;
  options.cap_watts = 1000;
  Core core(options);
  std::string text = to_text(core.state());
  const std::string now = "{\"base_watts\":1000,\"changes\":[]}";
  ASSERT_THAT(text, HasSubstr(now));
  text.replace(text.find(now), now.size(),
               "{\"base_watts\":1000,\"windows\":["
               "{\"watts\":600,\"from_seconds\":100,\"until_seconds\":200},"
               "{\"watts\":800,\"from_seconds\":150,\"until_seconds\":300},"
               "{\"watts\":1500,\"from_seconds\":400,\"until_seconds\":null}]}");
  EXPECT_THAT(state_from_text(text)->hard_cap.changes_after(0),
              ElementsAre(CapChange{100, 600}, CapChange{200, 800}, CapChange{300, 1000},
                          CapChange{400, 1500}));
}

/// An operator who sets caps.
class Caps : public CoreStory {
 protected:
  Caps() : CoreStory(options("energy", 2000)) {}
  std::string set(double watts, std::optional<double> from, std::optional<double> until) {
    if (from) *from += cluster.now();
    if (until) *until += cluster.now();
    return refusal(cluster.apply(CapSet{"cap", watts, CapTier::kHard, from, until}));
  }
  double cap_in(double seconds) const {
    return cluster.core.state().hard_cap.at(cluster.now() + seconds);
  }
  size_t changes() const {
    return cluster.core.state().hard_cap.changes_after(cluster.now()).size();
  }
};

TEST_F(Caps, ANewCapGoesOverAWindowThatHolds) {
  set(700, {}, 3600);
  EXPECT_EQ(cap_in(0), 700);
  set(500, {}, {});
  EXPECT_EQ(cap_in(0), 500);
  EXPECT_EQ(cap_in(3600), 500);
  EXPECT_EQ(changes(), 0u);
}

TEST_F(Caps, ACapWithoutAnEndIsTheNewOneFromItsBeginningOn) {
  set(900, 60, 120);
  set(700, 100, {});
  EXPECT_EQ(cap_in(0), 2000);
  EXPECT_EQ(cap_in(99), 900);
  EXPECT_EQ(cap_in(1e6), 700);
  set(800, {}, {});
  EXPECT_EQ(cap_in(1e6), 800);
}

TEST_F(Caps, WindowsThatAreOverAreForgotten) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(set(700 + i, 1, 2), "");
    cluster.run(3);
  }
  cluster.apply(Tick{});
  EXPECT_EQ(changes(), 0u);
  EXPECT_LT(to_text(cluster.core.state()).find("\"base_watts\":2000,\"changes\":[]"),
            std::string::npos);
}

TEST_F(Caps, ThereIsAnEndToWindowsThatLieAhead) {
  std::string refused;
  int taken = 0;
  for (; refused.empty() && taken < 3000; ++taken)
    refused = set(700, 10 * taken + 5, 10 * taken + 9);
  EXPECT_THAT(refused, HasSubstr("1000 changes of the cap lie ahead already"));
  EXPECT_EQ(set(700, 30, {}), "") << "which drops most of them";
  EXPECT_LT(changes(), 10u);
}

TEST_F(Caps, ASoftCapCanBeLifted) {
  const auto soft = [&](double watts) {
    return refusal(cluster.apply(CapSet{"cap", watts, CapTier::kSoft, {}, {}}));
  };
  EXPECT_EQ(soft(900), "");
  EXPECT_EQ(soft(kForever), "");
  EXPECT_EQ(cluster.core.state().soft_cap->at(cluster.now()), kForever);
  EXPECT_THAT(set(kForever, {}, {}), HasSubstr("expected a cap above 0 W, got inf"));
  EXPECT_THAT(set(900, kForever, {}), HasSubstr("expected times"));
}

TEST_F(Caps, AWindowOfASoftCapIsPlannedForWhenItBeginsAndEnds) {
  cluster.draw = [](JobId, double limit) { return limit; };  // no slack
  for (int i = 0; i < 8; ++i) cluster.submit(fmt::format("j{}", i), 1, 1, 1e6);
  cluster.run(20);
  const double now = cluster.now();
  cluster.apply(CapSet{"soft", 1000, CapTier::kSoft, now + 22, now + 27});
  cluster.run(10);
  EXPECT_GT(cap_of_limits(), 1500) << "before it is planned for";
  cluster.run(12);
  EXPECT_LE(cap_of_limits(), 1000) << "when it begins";
  cluster.run(7);
  EXPECT_GT(cap_of_limits(), 1500) << "when it is over";
}

}  // namespace
}  // namespace wattle::scheduler
