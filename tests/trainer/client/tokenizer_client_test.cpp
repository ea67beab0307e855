// Tokens of the real tokenizer and of llama.cpp, on the same texts with the same model.
// ./launch/prepare_data.sh smollm2 and ./launch/clients.sh set up what this needs.
#include <gmock/gmock.h>

#include <charconv>
#include <string_view>

#include "tests/support/scratch_folder.h"
#include "trainer/data/data_options.h"
#include "trainer/data/tokens/command.h"
#include "trainer/data/tokens/text_tokens.h"
#include "trainer/data/tokens/token_shard.h"

namespace wattle {
namespace {

const std::string kRoot = WATTLE_SOURCE_DIR;
const std::string kModel = kRoot + "/data/SmolLM2-135M-Instruct.Q4_1.gguf";

constexpr const char* kOddText =
    "In 1611 they'd printed 80,000 words; it's I'm we'll don't SHE'LL.\n"
    "  two spaces,\ttab\t\ttabs   three \n\n\nthree line ends\r\nand \r\n\r\n carriage returns  \n"
    "na\xc3\xafve caf\xc3\xa9 e\xcc\x81 \xd0\x9c\xd0\xb8\xd1\x80 "
    "\xe4\xb8\x96\xe7\x95\x8c\xe3\x80\x82 \xd9\xa1\xd9\xa2 \xc2\xbd \xc2\xb2 \xe2\x85\xa3 "
    "\xf0\x9f\x98\x80\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb \xc2\xa0nbsp\xe2\x80\xaf.\n"
    "<|im_start|>user <|endoftext|> x = {\"a\": [1,2.5e-10]}; // ok?!...---___\n"
    "trailing spaces   ";

class TokenizerClient : public testing::Test {
 protected:
  std::vector<int64_t> own_tokens(const std::string& text_path, const std::string& tokenizer) {
    const TextTokenizer how{tokenizer, DataOptions().tokenize_command, folder_.path("cache")};
    prepare_tokens(text_path, how);
    const TokenShard shard(tokens_path(text_path, how));
    EXPECT_EQ(shard.info().vocab, 49152);
    std::vector<int64_t> tokens(static_cast<size_t>(shard.info().count));
    shard.read(0, tokens);
    return tokens;
  }

  /// "[1, 2, 3]" on the last line of llama-tokenize's output.
  static std::vector<int64_t> llama_tokens(const std::string& text_path) {
    const CommandResult result =
        run_command({kRoot + "/.deps/llama.cpp/bin/llama-tokenize", "-m", kModel, "-f", text_path,
                     "--ids", "--no-bos", "--no-parse-special", "--log-disable"});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    std::vector<int64_t> tokens;
    const char* end = result.output.data() + result.output.size();
    const char* at = result.output.data() + result.output.rfind('[') + 1;
    for (int64_t token = 0; at < end; at += 2) {
      const auto [stop, error] = std::from_chars(at, end, token);
      if (error != std::errc()) break;
      tokens.push_back(token);
      at = stop;
    }
    return tokens;
  }

  std::string text(const std::string& content) {
    folder_.put("text.txt", content);
    return folder_.path("text.txt");
  }

  ScratchFolder folder_;
};

TEST_F(TokenizerClient, GivesTheTokensOfLlamaCppForTheBible) {
  const std::vector<int64_t> own = own_tokens(kRoot + "/data/kjv.txt", kModel);
  EXPECT_EQ(own.size(), 1207908u);
  EXPECT_TRUE(own == llama_tokens(kRoot + "/data/kjv.txt"));
}

TEST_F(TokenizerClient, GivesTheTokensOfLlamaCppForAnOddText) {
  const std::string path = text(kOddText);
  EXPECT_EQ(own_tokens(path, kModel), llama_tokens(path));
}

TEST_F(TokenizerClient, GivesTheSameTokensOutOfATokenizerJson) {
  const std::string path = text(kOddText), json = folder_.path("tokenizer.json");
  const CommandResult saved =
      run_command({DataOptions().tokenize_command.front(), "-c",
                   "import sys; sys.path.insert(0, sys.argv[1]); import tokenize_text as t;"
                   "t.from_gguf(sys.argv[2]).save(sys.argv[3])",
                   kRoot + "/launch", kModel, json});
  ASSERT_EQ(saved.exit_code, 0) << saved.output;
  EXPECT_EQ(own_tokens(path, json), own_tokens(path, kModel));
}

TEST_F(TokenizerClient, NamesWhereATextIsNoUtf8) {
  const std::string path = text("In the beginning\r\n\xff\xfe God");
  const CommandResult refused =
      run_command({DataOptions().tokenize_command.front(), kRoot + "/launch/tokenize_text.py",
                   kModel, path, folder_.path("out")});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.output, "tokenize_text.py: " + path +
                                ": byte 18: expected UTF-8, got 0xff (invalid start byte)\n");
}

}  // namespace
}  // namespace wattle
