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

TEST(Text, CutsBetweenCharacters) {
  EXPECT_EQ(cut("abc", 3), "abc");
  EXPECT_EQ(cut("abcd", 3), "abc...");
  EXPECT_EQ(cut("ab日本", 4), "ab...");
  EXPECT_EQ(cut("ab日本", 5), "ab日...");
  EXPECT_EQ(cut("\x80\x80\x80\x80\x80\x80", 5).size(), 5u);  // no UTF-8 at all
}

}  // namespace
}  // namespace wattle
