#include "scheduler/daemon/services/submit/bounded_yaml.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "scheduler/daemon/services/calls/caller.h"

namespace wattle::scheduler {
namespace {

using testing::HasSubstr;

/// "" or why it is refused.
std::string refusal(const std::string& text) {
  BoundedYaml yaml;
  try {
    yaml.parse(text, "the file");
    return "";
  } catch (const Refusal& refused) {
    return refused.what();
  }
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

/// This process may have so much more than it has.
void bound_memory(int64_t more_bytes) {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const auto most = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE) + more_bytes);
  const rlimit limit{most, most};
  setrlimit(RLIMIT_AS, &limit);
}

TEST(BoundedYaml, CountsAliasesAsWhatTheyStandFor) {
  const std::string a_thousand = "a: &a [" + repeated("x,", 998) + "]\n";
  EXPECT_EQ(refusal(a_thousand + "b: [" + repeated("*a,", 98) + "]\n"), "");
  EXPECT_THAT(refusal(a_thousand + "b: [" + repeated("*a,", 100) + "]\n"),
              HasSubstr("the file has too many nodes: 100000"));
  EXPECT_EQ(refusal("[" + repeated("x,", 99'999) + "]"), "");
  EXPECT_THAT(refusal("[" + repeated("x,", 100'000) + "]"), HasSubstr("too many nodes"));
}

TEST(BoundedYaml, CountsTheBytesThatAliasesStandFor) {
  const std::string text = "a: &a " + std::string(1000, 'x') + "\nb: &b [*a, *a]\nc: ";
  EXPECT_EQ(refusal(text + "[" + repeated("*b,", 2000) + "]\n"), "");
  EXPECT_THAT(refusal(text + "[" + repeated("*b,", 2100) + "]\n"),
              HasSubstr("the file has too many bytes: 4194304 are taken"));
}

TEST(BoundedYaml, CountsEveryDocument) {
  const std::string second = "a: b\n---\n[" + repeated("x,", 60'000) + "]\n";
  EXPECT_EQ(refusal(second), "");
  EXPECT_THAT(refusal(second + "---\n[" + repeated("x,", 60'000) + "]\n"),
              HasSubstr("too many nodes"));
}

TEST(BoundedYaml, CountsLevelsThroughAliases) {
  const std::string twenty = "&a " + repeated("[", 20) + repeated("]", 20);
  EXPECT_EQ(refusal(repeated("[", 32) + "x" + repeated("]", 32)), "");
  EXPECT_THAT(refusal(repeated("[", 33) + "x" + repeated("]", 33)),
              HasSubstr("is nested deeper than 32"));
  EXPECT_EQ(refusal(fmt::format("- {}\n- {}*a{}\n", twenty, repeated("[", 11), repeated("]", 11))),
            "");
  EXPECT_THAT(
      refusal(fmt::format("- {}\n- {}*a{}\n", twenty, repeated("[", 13), repeated("]", 13))),
      HasSubstr("nested deeper"));
  EXPECT_THAT(refusal("a: &a {b: [*a]}"), HasSubstr("nested deeper"));
}

TEST(BoundedYaml, ATextIsOneForAllThatIsParsed) {
  BoundedYaml yaml;
  yaml.parse("[" + repeated("x,", 60'000) + "]", "the file");
  EXPECT_THROW(yaml.parse("[" + repeated("x,", 60'000) + "]", "'data'"), Refusal);
}

/// What is refused takes no more memory than what is taken.
TEST(BoundedYaml, NothingIsBuiltOfWhatIsRefused) {
  for (const char* piece : {"b,", "{},", "&b c,", "[]", "[", "{a: "}) {
    const std::string text = "a: [" + repeated(piece, (1 << 20) / std::string(piece).size() - 8);
    EXPECT_EXIT(
        {
          bound_memory(40 << 20);
          _exit(refusal(text).find("too many nodes") != std::string::npos ? 0 : 1);
        },
        testing::ExitedWithCode(0), "")
        << piece;
  }
}

}  // namespace
}  // namespace wattle::scheduler
