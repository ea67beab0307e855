#include "scheduler/daemon/change_log.h"

#include <gmock/gmock.h>

namespace wattle::scheduler {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ChangeLog, SaysWhichJobsHaveChangedSinceAVersion) {
  ChangeLog log;
  log.add({1});
  const int64_t before = log.version();
  EXPECT_THAT(*log.since(before), IsEmpty());
  log.add({3, 2});
  log.add({});
  log.add({2});
  EXPECT_EQ(log.version(), before + 3);
  EXPECT_THAT(*log.since(before), ElementsAre(2, 3));
  EXPECT_THAT(*log.since(before + 1), ElementsAre(2));
}

TEST(ChangeLog, DoesNotRememberForever) {
  ChangeLog log;
  for (int i = 0; i < 20000; ++i) log.add({i});
  EXPECT_FALSE(log.since(0));
  EXPECT_THAT(*log.since(log.version() - 2), ElementsAre(19998, 19999));
}

TEST(ChangeLog, AClosedOneKeepsNobodyWaiting) {
  ChangeLog log;
  log.close();
  EXPECT_EQ(log.wait(0, 3600), 0);
  log.rest(3600);
}

}  // namespace
}  // namespace wattle::scheduler
