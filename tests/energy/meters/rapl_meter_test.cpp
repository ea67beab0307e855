#include "energy/meters/rapl_meter.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "common/error.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A powercap tree below a root of its own.
class RaplTest : public testing::Test {
 protected:
  void zone(const std::string& id, const std::string& name, const std::string& microjoules) {
    const std::string folder = "sys/class/powercap/" + id + "/";
    root_.put(folder + "name", name + "\n");
    root_.put(folder + "max_energy_range_uj", "262143328850\n");
    root_.put(folder + "energy_uj", microjoules + "\n");
  }
  std::vector<std::string> found() {
    std::vector<std::string> devices;
    for (const auto& meter : rapl_meters(root_.path())) devices.push_back(meter->info().device);
    return devices;
  }
  std::string failure() {
    try {
      rapl_meters(root_.path());
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
      return e.what();
    }
    return "no failure";
  }

  ScratchFolder root_;
};

TEST_F(RaplTest, CountsPackagesAndMemoryOnce) {
  zone("intel-rapl:0", "package-0", "1000000");
  zone("intel-rapl:0:0", "core", "1");
  zone("intel-rapl:0:1", "dram", "2000000");
  zone("intel-rapl:1", "package-1", "3000000");
  zone("intel-rapl-mmio:0", "package-0", "1000000");
  EXPECT_THAT(found(), ElementsAre("rapl:0/package-0", "rapl:0:1/dram", "rapl:1/package-1"));
}

TEST_F(RaplTest, TakesPsysAloneBecauseItContainsThePackage) {
  zone("intel-rapl:0", "package-0", "1000000");
  zone("intel-rapl:0:1", "dram", "2000000");
  zone("intel-rapl:1", "psys", "3000000");
  EXPECT_THAT(found(), ElementsAre("rapl:1/psys"));
}

TEST_F(RaplTest, ReadsJoulesAndTheRangeOfTheCounter) {
  zone("intel-rapl:0", "package-0", "1500000");
  const auto meters = rapl_meters(root_.path());
  EXPECT_EQ(meters[0]->read(), 1.5);
  EXPECT_NEAR(meters[0]->info().wraps_at_joules, 262143.328850, 1e-6);
  EXPECT_EQ(meters[0]->info().source, Source::kMeasuredRapl);
  zone("intel-rapl:0", "package-0", "2500000");
  EXPECT_EQ(meters[0]->read(), 2.5);
}

TEST_F(RaplTest, AZoneThatGoesAwayIsAnError) {
  zone("intel-rapl:0", "package-0", "1");
  const auto meters = rapl_meters(root_.path());
  std::filesystem::remove_all(root_.path("sys/class/powercap/intel-rapl:0"));
  EXPECT_THROW(meters[0]->read(), Error);
}

TEST_F(RaplTest, AnAnswerThatIsNoNumberIsAnError) {
  zone("intel-rapl:0", "package-0", "1");
  const auto meters = rapl_meters(root_.path());
  for (const char* nonsense : {"", "many", "-5", "12 34"}) {
    zone("intel-rapl:0", "package-0", nonsense);
    EXPECT_THROW(meters[0]->read(), Error) << nonsense;
  }
}

TEST_F(RaplTest, SaysThatThereIsNoTree) {
  EXPECT_THAT(failure(), HasSubstr("no package, dram or psys zone"));
}

/// Acts as a user without privileges while it lives.
class Unprivileged {
 public:
  Unprivileged() : before_(geteuid()) { is_done_ = before_ != 0 || seteuid(65534) == 0; }
  ~Unprivileged() {
    if (seteuid(before_) != 0) std::abort();
  }
  bool is_done() const { return is_done_; }

 private:
  uid_t before_;
  bool is_done_;
};

TEST_F(RaplTest, SaysWhoMayReadAndHowToChangeIt) {
  zone("intel-rapl:0", "package-0", "1");
  using std::filesystem::perms;
  std::filesystem::permissions(root_.path(), perms{0755});
  std::filesystem::permissions(root_.path("sys/class/powercap/intel-rapl:0/energy_uj"),
                               perms::none);
  const Unprivileged user;
  ASSERT_TRUE(user.is_done());
  EXPECT_THAT(failure(), HasSubstr("run as root"));
}

}  // namespace
}  // namespace wattle
