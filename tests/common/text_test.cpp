#include "common/text.h"

#include <gtest/gtest.h>

namespace wattle {
namespace {

TEST(Text, ShowsControlCharactersAsQuestionMarks) {
  EXPECT_EQ(printable("a\x1b[31mb\n\x7f"), "a?[31mb??");
  EXPECT_EQ(printable("a\xc2\x9b"
                      "31m"),
            "a?31m");  // CSI as one character
  EXPECT_EQ(printable("Größe 3 °C, 日本"), "Größe 3 °C, 日本");
  EXPECT_EQ(printable_lines("a\x1b\nb\n"), "a?\nb\n");
  EXPECT_EQ(printable("\xff"
                      "a\xc3"),
            "?a?");
}

TEST(Text, HasANumberAfterAPrefix) {
  EXPECT_EQ(number_after<int>("step-", "step-12"), 12);
  for (const char* other : {"step-", "step-1x", "step- 1", "stop-1", "step", ""}) {
    EXPECT_EQ(number_after<int>("step-", other), std::nullopt) << other;
  }
  EXPECT_EQ(number_after<int>("n", "n99999999999"), std::nullopt);
  EXPECT_EQ(number_after<int64_t>("n", "n99999999999"), 99999999999);
}

TEST(Text, WritesMomentsAndDaysInUtc) {
  EXPECT_EQ(time_text(86399.9), "1970-01-01T23:59:59Z");
  EXPECT_EQ(day_text(86399.9), "1970-01-01");
  EXPECT_EQ(day_text(86400), "1970-01-02");
}

TEST(Text, CutsBetweenCharacters) {
  EXPECT_EQ(cut("abc", 3), "abc");
  EXPECT_EQ(cut("abcd", 3), "abc...");
  EXPECT_EQ(cut("ab日本", 4), "ab...");
  EXPECT_EQ(cut("ab日本", 5), "ab日...");
  EXPECT_EQ(cut("\x80\x80\x80\x80\x80\x80", 5).size(), 5u);  // no UTF-8 at all
}

}  // namespace
}  // namespace wattle
