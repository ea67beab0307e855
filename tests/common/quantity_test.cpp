#include "common/quantity.h"

#include <gtest/gtest.h>

namespace wattle {
namespace {

TEST(Quantity, ReadsDurations) {
  EXPECT_EQ(duration_seconds("90"), 90);
  EXPECT_EQ(duration_seconds("90s"), 90);
  EXPECT_EQ(duration_seconds("1.5h"), 5400);
  EXPECT_EQ(duration_seconds("2 hours"), 7200);
  EXPECT_EQ(duration_seconds("30d"), 30 * 86400.0);
  EXPECT_EQ(duration_seconds("day"), 86400);
  for (const char* bad : {"", "-1d", "1dd", "infd", "nand", "1y", "soon", "d1", "1e3s"}) {
    EXPECT_FALSE(duration_seconds(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace wattle
