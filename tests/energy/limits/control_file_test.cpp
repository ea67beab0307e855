#include "energy/limits/control_file.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "common/error.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

class ControlFileTest : public testing::Test {
 protected:
  void write(const std::string& text) { folder_.put("control.json", text); }
  std::optional<Control> poll() { return file_.poll(); }

  ScratchFolder folder_;
  ControlFile file_{folder_.path("control.json")};
};

TEST_F(ControlFileTest, TellsEachChangeOnce) {
  EXPECT_FALSE(poll()) << "there is no file yet";
  write("{\"power_cap_watts\": 250}");
  EXPECT_EQ(poll()->power_cap_watts, 250);
  EXPECT_FALSE(poll());
  write("{\"power_cap_watts\": 125.5}");
  EXPECT_EQ(poll()->power_cap_watts, 125.5);
}

TEST_F(ControlFileTest, NullLiftsTheCap) {
  write("{\"power_cap_watts\": null}");
  const auto control = poll();
  ASSERT_TRUE(control);
  EXPECT_FALSE(control->power_cap_watts);
}

TEST_F(ControlFileTest, WaitsForAFileThatIsHalfWritten) {
  const std::string whole = "{\"power_cap_watts\": 250}";
  for (size_t length = 0; length < whole.size(); ++length) {
    write(whole.substr(0, length));
    EXPECT_FALSE(poll()) << whole.substr(0, length);
  }
  write(whole);
  EXPECT_EQ(poll()->power_cap_watts, 250);
}

TEST_F(ControlFileTest, SaysOnceThatAFileStaysCutOff) {
  write("{\"power_cap_watts\": 2");
  int said = 0;
  for (int i = 0; i < 3 * ControlFile::kPollsToFinish; ++i) {
    try {
      EXPECT_FALSE(poll());
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kFormat);
      ++said;
    }
  }
  EXPECT_EQ(said, 1);
  write("{\"power_cap_watts\": 250}");
  EXPECT_EQ(poll()->power_cap_watts, 250);
}

TEST_F(ControlFileTest, AFileThatGoesAwayChangesNothing) {
  write("{\"power_cap_watts\": 250}");
  poll();
  std::filesystem::remove(folder_.path("control.json"));
  EXPECT_FALSE(poll());
}

TEST_F(ControlFileTest, SaysOnceWhatIsWrong) {
  for (const char* text : {"{\"power_cap_watts\": -1}", "{\"power_cap_watts\": 0}", "[]",
                           "{\"power_cap_watts\": \"many\"}", "{\"power_cap\": 5}", "{}"}) {
    write(text);
    EXPECT_THROW(poll(), Error) << text;
    EXPECT_FALSE(poll()) << text;
  }
}

}  // namespace
}  // namespace wattle
