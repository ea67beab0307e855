#include "scheduler/core/journal/alike.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>

#include "scheduler/core/journal/journal.h"

namespace wattle::scheduler {
namespace {

Accepted accepted() {
  Accepted accepted;
  accepted.job = 3'000'000'001;
  accepted.watts = 971.31286349;
  accepted.joules = 4711.2345678;
  accepted.why = "alone it would run on 4 of V100 at 250 W each (± 30 %)";
  return accepted;
}

/// Whether it is the same as accepted() after `edit`.
template <class Edit>
bool is_same_after(Edit&& edit) {
  Accepted other = accepted();
  edit(other);
  return alike_but_for_rounding(to_line(accepted()) + "\n", to_line(other) + "\n");
}

bool are_same_watts(double a, double b) {
  return alike_but_for_rounding(to_line(Estimated{1, 2, "team", "n", a}) + "\n",
                                to_line(Estimated{1, 2, "team", "n", b}) + "\n");
}

TEST(Alike, NumbersMayDifferByRounding) {
  EXPECT_TRUE(is_same_after([](Accepted&) {}));
  EXPECT_TRUE(is_same_after([](Accepted& a) { a.watts *= 1 + 1e-12; }));
  EXPECT_TRUE(is_same_after([](Accepted& a) { *a.joules *= 1 - 5e-10; }));
  EXPECT_FALSE(is_same_after([](Accepted& a) { a.watts *= 1 + 1e-3; }));
  EXPECT_FALSE(is_same_after([](Accepted& a) { *a.joules *= 1 + 2e-9; }));
  EXPECT_FALSE(is_same_after([](Accepted& a) { a.joules.reset(); }));
  EXPECT_FALSE(is_same_after([](Accepted& a) { a.run_seconds = 1; }));
}

TEST(Alike, TheDigitsOfANumberAreNoMatter) {
  EXPECT_TRUE(are_same_watts(250, 249.99999999999997));
  EXPECT_TRUE(are_same_watts(1e300, 1.0000000000001e300));
  EXPECT_FALSE(are_same_watts(1e300, 1e299));
  EXPECT_TRUE(are_same_watts(-12.5, -12.500000000001));
  EXPECT_FALSE(are_same_watts(-12.5, 12.5));
  EXPECT_TRUE(are_same_watts(0, -1e-13)) << "the difference of two that are equal";
  EXPECT_FALSE(are_same_watts(0, 1e-8));
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(are_same_watts(infinity, infinity));
  EXPECT_FALSE(are_same_watts(infinity, -infinity));
  EXPECT_FALSE(are_same_watts(infinity, 1e308));
}

TEST(Alike, CountsAndTextsAreTheSameToTheLastByte) {
  EXPECT_FALSE(is_same_after([](Accepted& a) { a.job += 1; })) << "less than 1e-9 of it";
  EXPECT_FALSE(is_same_after([](Accepted& a) { a.why += ";"; }));
  EXPECT_FALSE(is_same_after([](Accepted& a) {
    a.why = "alone it would run on 4 of V100 at 250.00000000001 W each (± 30 %)";
  }));
  EXPECT_FALSE(is_same_after([](Accepted& a) { a.overrides = {"run.seed=1"}; }));
}

TEST(Alike, DecisionsAreAsManyInTheSameOrder) {
  const std::string one = to_line(accepted()) + "\n", two = to_line(Kill{"n", 7}) + "\n";
  EXPECT_TRUE(alike_but_for_rounding(one + two, one + two));
  EXPECT_FALSE(alike_but_for_rounding(one + two, two + one));
  EXPECT_FALSE(alike_but_for_rounding(one + two, one));
  EXPECT_FALSE(alike_but_for_rounding(one, one + two));
  EXPECT_FALSE(alike_but_for_rounding(one, ""));
  EXPECT_TRUE(alike_but_for_rounding("", ""));
}

TEST(Alike, WhatIsNoDecisionIsLikeNoOther) {
  const std::string one = to_line(accepted()) + "\n";
  EXPECT_FALSE(alike_but_for_rounding(one, "x"));
  EXPECT_FALSE(alike_but_for_rounding(one, "{\"decision\":\"imagined\",\"watts\":1}\n"));
}

/// The shares of a start are lists of counts.
TEST(Alike, LooksIntoLists) {
  Start start{1, 2, "V100", 2, 187.3, {{"a", {0, 1}, 5}}, "first"};
  const std::string line = to_line(start) + "\n";
  start.limit_watts *= 1 + 1e-14;
  EXPECT_TRUE(alike_but_for_rounding(line, to_line(start) + "\n"));
  start.shares[0].devices[1] = 2;
  EXPECT_FALSE(alike_but_for_rounding(line, to_line(start) + "\n"));
}

}  // namespace
}  // namespace wattle::scheduler
