#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <random>

#include "common/error.h"
#include "tests/scheduler/core/scene.h"

namespace wattle::scheduler {
namespace {

using testing::ElementsAre;

/// Four devices; one is held for 100 s, the head needs all, a short and a long job wait behind it.
Scene queue_of_three() {
  Scene scene(4, 4 * 225);
  scene.running(scene.job({1}, 100), 1, 250);
  scene.job({4}, 100);
  scene.job({1}, 20);
  scene.job({1}, 5000);
  return scene;
}

TEST(Fifo, NothingPassesTheHead) {
  EXPECT_THAT(queue_of_three().ranks("fifo"), ElementsAre(1, 0, 0, 0));
  EXPECT_THAT(queue_of_three().reasons("fifo"),
              ElementsAre(Reason::kNone, Reason::kResources, Reason::kPriority, Reason::kPriority));
}

TEST(Backfill, StartsWhatDoesNotDelayTheHead) {
  EXPECT_THAT(queue_of_three().ranks("backfill"), ElementsAre(1, 0, 1, 0));
}

TEST(Backfill, LongJobsMayTakeWhatTheReservationLeaves) {
  Scene scene = queue_of_three();
  scene.snapshot.jobs[1].options = Scene(4, 0).job({3}, 1).options;
  scene.snapshot.types[0].capacity = 3;  // the head needs three, two are free
  EXPECT_THAT(scene.ranks("backfill"), ElementsAre(1, 0, 1, 0));
  scene.snapshot.types[0].capacity = 5;
  scene.snapshot.watts = 5 * 225;
  EXPECT_THAT(scene.ranks("backfill"), ElementsAre(1, 3, 1, 0));
}

TEST(Backfill, ReservesWattsAsWellAsDevices) {
  Scene scene = queue_of_three();
  scene.snapshot.watts = 4 * 75;  // every device at the lowest limit, no more
  EXPECT_THAT(scene.ranks("backfill"), ElementsAre(1, 0, 1, 0));
  scene.snapshot.watts = 75;
  EXPECT_THAT(scene.reasons("backfill"),
              ElementsAre(Reason::kNone, Reason::kResources, Reason::kPowerCap, Reason::kPowerCap));
}

TEST(QueuePolicies, RaiseLimitsEvenly) {
  Scene scene(2, 2 * 125);
  scene.job({1}, 10);
  scene.job({1}, 10);
  for (const char* policy : {"fifo", "backfill"}) {
    for (const Choice& choice : make_policy({policy, 0})->plan(scene.snapshot).choices) {
      EXPECT_EQ(choice.point->limit_watts, 150);
    }
  }
}

TEST(EveryPolicy, KeepsWithinDevicesAndWatts) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    Scene scene(1 + random() % 12, 75 * (1 + random() % 30));
    for (int j = 0, n = 1 + random() % 12; j < n; ++j) {
      JobView& view = scene.job({1, 2, 4}, 1 + random() % 500, 120 + random() % 130);
      view.weight = 1 + random() % 4;
      if (random() % 3 == 0) scene.running(view, 1, 100);
    }
    for (const char* policy : {"fifo", "backfill", "energy"}) {
      int devices = 0;
      double watts = 0;
      for (const Choice& choice : make_policy({policy, 0.5})->plan(scene.snapshot).choices) {
        if (!choice.point) continue;
        devices += choice.point->ranks;
        watts += run_watts(scene.snapshot, *choice.point);
      }
      // Running jobs are as many as devices at least: the snapshot never holds more than there are.
      int held = 0;
      for (const JobView& view : scene.snapshot.jobs) held += view.current ? 1 : 0;
      EXPECT_LE(devices, std::max(held, scene.snapshot.types[0].capacity)) << policy;
      EXPECT_LE(watts, scene.snapshot.watts + 1e-6) << policy;
    }
  }
}

/// The most progress of all ways to run the jobs at limits so far apart, by trying them all.
double brute_force(const Snapshot& snapshot, double step_watts) {
  std::function<double(size_t, int, double)> best = [&](size_t j, int devices, double watts) {
    if (j == snapshot.jobs.size()) return 0.0;
    double most = best(j + 1, devices, watts);
    const JobView& job = snapshot.jobs[j];
    const double reference = (*job.options)[3].performance.units_per_second;
    for (int ranks : {1, 2}) {
      for (double limit = 100; ranks <= devices && limit <= 250; limit += step_watts) {
        const OperatingPoint point{0, ranks, limit};
        const double left = watts - run_watts(snapshot, point);
        if (left < -1e-9) break;
        const double rate = performance_at(*job.options, point).units_per_second;
        most = std::max(most, job.weight * rate / reference + best(j + 1, devices - ranks, left));
      }
    }
    return most;
  };
  return best(0, snapshot.types[0].capacity, snapshot.watts);
}

TEST(Energy, EqualsBruteForceOnSmallCases) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 100; ++round) {
    Scene scene(2 + random() % 6, 75 * (2 + random() % 12));
    for (int j = 0, n = 1 + random() % 3; j < n; ++j) {
      scene.job({1, 2}, 100, 120 + random() % 130).weight = 1 + random() % 5;
    }
    double progress = 0;
    const std::vector<Choice> choices = scene.choices("energy");
    for (size_t j = 0; j < choices.size(); ++j) {
      if (!choices[j].point) continue;
      const Options& options = *scene.snapshot.jobs[j].options;
      progress += scene.snapshot.jobs[j].weight *
                  performance_at(options, *choices[j].point).units_per_second /
                  options[3].performance.units_per_second;
    }
    EXPECT_GE(progress, brute_force(scene.snapshot, 50) - 1e-5) << "round " << round;
    // It chooses ranks by the levels, 50 W apart here, and then limits in whole watts.
    const double share = progress / brute_force(scene.snapshot, 5);
    EXPECT_GT(share, 0.98) << "round " << round;
    EXPECT_LT(share, 1.015) << "round " << round;
  }
}

/// Six jobs whose curves differ as Zeus' do: one hardly needs power, one needs all of it.
TEST(Energy, BeatsUniformLimitsWhereJobsDiffer) {
  Scene scene(6, 6 * (150 - 25));
  for (double saturation : {100., 130., 170., 210., 250., 250.}) scene.job({1}, 100, saturation);
  double energy = 0, uniform = 0;
  const Plan plan = make_policy({"energy", 0})->plan(scene.snapshot);
  for (size_t j = 0; j < 6; ++j) {
    const Options& options = *scene.snapshot.jobs[j].options;
    energy += performance_at(options, *plan.choices[j].point).units_per_second;
    uniform += options[1].performance.units_per_second;
  }
  EXPECT_GT(energy, 1.01 * uniform);
}

TEST(Energy, EtaMovesFromThroughputToWorkPerJoule) {
  Scene scene(1, 225);
  scene.job({1}, 100);
  auto limit = [&](double eta) {
    return make_policy({"energy", eta})->plan(scene.snapshot).choices[0].point->limit_watts;
  };
  EXPECT_EQ(limit(0), 250);
  EXPECT_LT(limit(1), 150);
}

/// One whose speeds are infinite is left out; one that boasts gets no more than others.
TEST(Energy, CountsNoMoreThanNumbers) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto with_speeds = [](JobView& job, int ranks, double factor) {
    Options options = *job.options;
    for (Option& option : options) {
      if (option.point.ranks >= ranks) option.performance.units_per_second *= factor;
    }
    job.options = std::make_shared<const Options>(options);
  };
  Scene scene(4, 4 * 225);
  with_speeds(scene.job({2, 4}, 100), 1, kInfinity);
  with_speeds(scene.job({1, 2}, 100), 2, 1e200);
  with_speeds(scene.job({1, 2}, 100), 2, kInfinity);
  for (int i = 0; i < 3; ++i) scene.job({1}, 100).weight = 5;
  EXPECT_EQ(scene.ranks("energy")[0], 0);
  for (int j : {3, 4, 5}) EXPECT_EQ(scene.ranks("energy")[static_cast<size_t>(j)], 1);
}

/// Eight devices, all held by narrow jobs that end one after the other; a gang of four waits, and
/// many narrow ones.
struct WideAmongNarrow : Scene {
  WideAmongNarrow() : Scene(8, 8 * 225) {
    for (int i = 1; i <= 8; ++i) running(job({1}, 100 * i), 1, 250);
    JobView& wide = job({4}, 1000);
    wide.weight = 1.2;  // less than the run that it would have to stop, see kKeepFactor
    wide.waited_seconds = 3600;
    for (int i = 0; i < 4; ++i) job({1}, 10000);
  }
  JobView& wide() { return snapshot.jobs[8]; }
  /// As if so many of the narrow jobs had ended.
  void end(int jobs) {
    for (int i = 0; i < jobs; ++i)
      snapshot.jobs[static_cast<size_t>(i)].options = std::make_shared<const Options>();
    for (int i = 0; i < jobs; ++i) snapshot.jobs[static_cast<size_t>(i)].current.reset();
  }
  int started() const {
    int count = 0;
    const std::vector<int> all = ranks("energy");
    for (size_t i = 9; i < all.size(); ++i) count += all[i];
    return count;
  }
};

TEST(Energy, KeepsWhatComesFreeForAWideJobThatHasWaited) {
  for (int ended : {1, 2, 3}) {
    WideAmongNarrow scene;
    scene.end(ended);
    EXPECT_EQ(scene.started(), 0) << ended;
    EXPECT_EQ(scene.reasons("energy")[8], Reason::kReserved);
    EXPECT_EQ(scene.reasons("energy")[9], Reason::kPriority);
  }
  WideAmongNarrow scene;
  scene.end(4);
  EXPECT_EQ(scene.ranks("energy")[8], 4);
}

TEST(Energy, KeepsNothingForAJobThatHasNotWaitedOrWeighsLess) {
  WideAmongNarrow fresh;
  fresh.end(3);
  fresh.wide().waited_seconds = 599;
  EXPECT_EQ(fresh.started(), 3);
  WideAmongNarrow lighter;
  lighter.end(3);
  for (size_t i = 9; i < 13; ++i) lighter.snapshot.jobs[i].weight = 3;
  EXPECT_EQ(lighter.started(), 3);
}

TEST(Energy, LetsShortJobsStartBesideAReservation) {
  WideAmongNarrow scene;
  scene.end(2);
  scene.job({1}, 100);  // the wide one has its devices when the fourth job ends, in 400 s
  scene.job({1}, 450);
  const std::vector<int> ranks = scene.ranks("energy");
  EXPECT_EQ(ranks[13], 1);
  EXPECT_EQ(ranks[14], 0);
}

TEST(Energy, StartsNothingBesideAReservationWithoutAKnownEnd) {
  WideAmongNarrow scene;
  for (JobView& job : scene.snapshot.jobs) job.units_left.reset();
  scene.end(2);
  EXPECT_EQ(scene.started(), 0);
}

/// Its final evaluation and last checkpoint are no units.
TEST(Energy, KeepsWhatIsFreeWhileARunIsAtItsLastUnit) {
  WideAmongNarrow scene;
  scene.end(3);
  scene.snapshot.jobs[7].units_left = 0;
  EXPECT_EQ(scene.started(), 0);
}

/// One that what is free holds needs no reservation, and takes none from the next.
TEST(Energy, KeepsWhatComesFreeForTheFirstThatDoesNotFit) {
  WideAmongNarrow scene;
  scene.end(3);
  JobView& narrow = scene.job({1}, 10000);
  narrow.weight = 5;
  narrow.waited_seconds = 7200;
  const std::vector<int> ranks = scene.ranks("energy");
  EXPECT_EQ(ranks.back(), 1);
  EXPECT_EQ(scene.reasons("energy")[8], Reason::kReserved);
  EXPECT_EQ(scene.started(), 1);
}

TEST(Energy, GivesAwayWhatAReservationLeaves) {
  WideAmongNarrow scene;
  scene.end(3);
  scene.snapshot.types.push_back({kV100, 2});  // whose devices the wide job does not fit on
  scene.snapshot.types.back().type.name = "A100";
  scene.snapshot.watts += 2 * 225;
  JobView& other = scene.job({1}, 10000);
  Options elsewhere = *other.options;
  for (Option& option : elsewhere) option.point.type = 1;
  other.options = std::make_shared<const Options>(elsewhere);
  EXPECT_EQ(scene.started(), 1);
  EXPECT_EQ(scene.ranks("energy").back(), 1);
}

TEST(EveryPolicy, SaysWhereDevicesAreOutOfService) {
  for (const char* policy : {"fifo", "backfill", "energy"}) {
    Scene scene(3, 8 * 225);
    scene.job({4}, 100);
    EXPECT_EQ(scene.reasons(policy)[0], Reason::kNodesUnavailable) << policy;
  }
}

TEST(MakePolicy, RefusesWhatItDoesNotKnow) {
  EXPECT_THROW(make_policy({"lottery", 0}), Error);
  EXPECT_THROW(make_policy({"energy", 1.5}), Error);
  EXPECT_THROW(make_policy({"energy", 0.5, -1}), Error);
}

}  // namespace
}  // namespace wattle::scheduler
