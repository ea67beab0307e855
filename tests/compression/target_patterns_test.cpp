#include "compression/quantize/target_patterns.h"

#include <gmock/gmock.h>

#include "common/error.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<std::string> kNames = {"embed.tokens.weight", "blocks.0.attention.qkv.weight",
                                         "blocks.0.feed_forward.up.weight",
                                         "blocks.1.attention.qkv.weight", "head.weight"};

std::string refusal_of(const std::string& pattern) {
  try {
    matching_names({pattern}, kNames, "compression.0.quantize.targets");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kConfig);
    return error.what();
  }
  return "";
}

TEST(TargetPatterns, NoneChooseAll) { EXPECT_EQ(matching_names({}, kNames, "k"), kNames); }

TEST(TargetPatterns, ANameAPartAndARegularExpression) {
  EXPECT_THAT(matching_names({"head.weight"}, kNames, "k"), ElementsAre("head.weight"));
  EXPECT_THAT(matching_names({"blocks.0"}, kNames, "k"), ElementsAre(kNames[1], kNames[2]));
  EXPECT_THAT(matching_names({"re:.*qkv.*"}, kNames, "k"), ElementsAre(kNames[1], kNames[3]));
}

TEST(TargetPatterns, ManyKeepTheModelsOrderAndChooseOnce) {
  EXPECT_THAT(matching_names({"head", "blocks.1", "re:blocks.*attention.*"}, kNames, "k"),
              ElementsAre(kNames[1], kNames[3], kNames[4]));
}

TEST(TargetPatterns, APartEndsAtADot) {
  EXPECT_THAT(refusal_of("blocks.0.feed"), HasSubstr("matches no weight"));
}

TEST(TargetPatterns, WhatMatchesNothingNamesTheNearest) {
  EXPECT_THAT(
      refusal_of("blocks.0.atention"),
      HasSubstr("compression.0.quantize.targets: 'blocks.0.atention' matches no weight (did "
                "you mean 'blocks.0.attention'?)"));
  EXPECT_THAT(refusal_of("re:.*mlp.*"), HasSubstr("matches no weight"));
}

TEST(TargetPatterns, ABrokenExpressionIsRefused) {
  EXPECT_THAT(refusal_of("re:blocks.("), HasSubstr("is no regular expression"));
}

}  // namespace
}  // namespace wattle
