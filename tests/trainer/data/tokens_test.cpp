#include <gmock/gmock.h>

#include <random>

#include "common/error.h"
#include "tests/support/mutations.h"
#include "tests/support/scratch_folder.h"
#include "trainer/data/tokens/token_dataset.h"
#include "trainer/data/tokens/token_shard.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kEveryone = int64_t{1} << 40;

class Tokens : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::vector<uint32_t>& tokens, int64_t vocab) {
    TokenShardWriter writer(folder_.path(name),
                            {static_cast<int64_t>(tokens.size()), vocab, 11, 22});
    writer.append(tokens);
    writer.commit();
    return folder_.path(name);
  }
  /// Tokens 0, 1, 2, ...
  std::string count_up(const std::string& name, uint32_t count) {
    std::vector<uint32_t> tokens(count);
    for (uint32_t i = 0; i < count; ++i) tokens[i] = i;
    return write(name, tokens, 100000);
  }
  static std::vector<int64_t> read_all(const TokenShard& shard) {
    std::vector<int64_t> tokens(static_cast<size_t>(shard.info().count));
    shard.read(0, tokens);
    return tokens;
  }
  std::string refusal(const std::string& path) {
    try {
      read_all(TokenShard(path));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kFormat);
      return error.what();
    }
    return "";
  }
  static std::vector<int64_t> row(const at::Tensor& rows, int64_t index) {
    const int64_t* data = rows.const_data_ptr<int64_t>() + index * rows.size(1);
    return {data, data + rows.size(1)};
  }

  ScratchFolder folder_;
};

TEST_F(Tokens, ReadBackAsWritten) {
  std::mt19937 random(1);
  for (const int64_t vocab : {256, 65536, 65537, 128256}) {
    for (const size_t count : {0, 1, 3, 4, 16384, 32768, 100001}) {
      std::vector<uint32_t> tokens(count);
      for (uint32_t& token : tokens) token = random() % vocab;
      const TokenShard shard(write("a.tokens", tokens, vocab));
      ASSERT_EQ(shard.info(), (TokenShardInfo{static_cast<int64_t>(count), vocab, 11, 22}));
      ASSERT_EQ(read_all(shard), std::vector<int64_t>(tokens.begin(), tokens.end()));
    }
  }
}

TEST_F(Tokens, ReadFromAnywhere) {
  const TokenShard shard(count_up("a.tokens", 90000));
  std::vector<int64_t> some(3);
  shard.read(65534, some);
  EXPECT_THAT(some, ElementsAre(65534, 65535, 65536));
  EXPECT_THROW(shard.read(89998, some), Error);
}

TEST_F(Tokens, EveryDamagedShardIsRefused) {
  const std::string path = write("a.tokens", {1, 2, 3, 4, 500, 6, 7}, 1000);
  const std::string valid = folder_.content("a.tokens");
  const auto bytes = std::as_bytes(std::span(valid));
  int tried = 0;
  const auto use = [&](std::span<const std::byte> copy) {
    const std::string damaged(reinterpret_cast<const char*>(copy.data()), copy.size());
    if (damaged == valid) return;
    std::filesystem::remove(folder_.path("damaged.tokens"));  // a fresh file needs no flush
    folder_.put("damaged.tokens", damaged);
    ASSERT_NE(refusal(folder_.path("damaged.tokens")), "") << "mutation " << tried;
    ++tried;
  };
  Mutations({bytes.begin(), bytes.end()}, use).all(1, 1000);
  EXPECT_GT(tried, 3000);
}

TEST_F(Tokens, DamageIsNamedWithItsPlace) {
  const std::string path = count_up("a.tokens", 40000);
  std::string content = folder_.content("a.tokens");
  content[64 + 4 * 20000] ^= 1;
  folder_.put("a.tokens", content);
  EXPECT_THAT(refusal(path), HasSubstr("a.tokens: token shard, at byte 65600: expected 65536 bytes "
                                       "with checksum "));
  std::vector<int64_t> sound(100);
  EXPECT_NO_THROW(TokenShard(path).read(0, sound)) << "other blocks can still be read";

  folder_.put("a.tokens", content.substr(0, 70000));
  EXPECT_THAT(refusal(path), HasSubstr("at byte 70000: expected a file of 160096 bytes for 40000 "
                                       "tokens, got 70000 bytes"));
  folder_.put("a.tokens", "In the beginning God created the heaven and the earth. And the earth");
  EXPECT_THAT(refusal(path), HasSubstr("at byte 0: expected \"WTLTOKEN\", got \"In the b\""));
  folder_.put("a.tokens", "WTLTO\xf1G\n" + content.substr(8));
  EXPECT_THAT(refusal(path), HasSubstr("expected \"WTLTOKEN\", got \"WTLTO\\xf1G\\x0a\""));
}

TEST_F(Tokens, AreInTheVocabulary) {
  EXPECT_THROW(write("a.tokens", {1, 10}, 10), Error);
  EXPECT_FALSE(std::filesystem::exists(folder_.path("a.tokens")));
}

TEST_F(Tokens, MakeSamplesWhoseTargetsAreTheNextTokens) {
  const TokenDataset data(open_tokens(count_up("a.tokens", 13)), TokenWindow::all(4), kEveryone);
  EXPECT_EQ(data.size(), 3);
  const std::vector<int64_t> indices = {2, 0};
  const Batch batch = data.fetch(indices);
  EXPECT_THAT(row(batch.inputs, 0), ElementsAre(8, 9, 10, 11));
  EXPECT_THAT(row(batch.targets, 0), ElementsAre(9, 10, 11, 12));
  EXPECT_THAT(row(batch.inputs, 1), ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(data.shape().classes, 100000);
}

TEST_F(Tokens, OfOneWindowLessOneMakeNoFurtherSample) {
  const auto samples = [&](uint32_t tokens) {
    return TokenDataset(open_tokens(count_up("a.tokens", tokens)), TokenWindow::all(4), kEveryone)
        .size();
  };
  EXPECT_EQ(samples(12), 2) << "the last token of a third window has no target";
  EXPECT_EQ(samples(5), 1);
  EXPECT_THROW(samples(4), Error);
}

TEST_F(Tokens, OfAWindowAreScoredInItsSecondHalf) {
  const TokenDataset data(open_tokens(count_up("a.tokens", 16)), TokenWindow::second_half(8),
                          kEveryone);
  EXPECT_EQ(data.size(), 2);
  const std::vector<int64_t> indices = {1};
  const Batch batch = data.fetch(indices);
  EXPECT_THAT(row(batch.inputs, 0), ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
  EXPECT_THAT(row(batch.targets, 0), ElementsAre(-1, -1, -1, -1, 13, 14, 15, -1));
}

TEST_F(Tokens, OfAWindowMayStartWithBos) {
  TokenWindow window = TokenWindow::second_half(8);
  window.bos_token = 99;
  const TokenDataset data(open_tokens(count_up("a.tokens", 16)), window, kEveryone);
  const std::vector<int64_t> indices = {1};
  EXPECT_THAT(row(data.fetch(indices).inputs, 0), ElementsAre(99, 9, 10, 11, 12, 13, 14, 15));
}

TEST_F(Tokens, OfAFolderNeverShareASampleAcrossShards) {
  count_up("2.tokens", 9);
  count_up("1.tokens", 14);
  folder_.put("notes.txt", "no shard");
  const TokenDataset data(open_tokens(folder_.path()), TokenWindow::all(4), kEveryone);
  EXPECT_EQ(data.size(), 3 + 2);
  const std::vector<int64_t> indices = {2, 3};
  const Batch batch = data.fetch(indices);
  EXPECT_THAT(row(batch.inputs, 0), ElementsAre(8, 9, 10, 11));
  EXPECT_THAT(row(batch.inputs, 1), ElementsAre(0, 1, 2, 3));
}

TEST_F(Tokens, OfDifferentVocabulariesDoNotMix) {
  write("1.tokens", {1}, 10);
  write("2.tokens", {1}, 11);
  EXPECT_THROW(open_tokens(folder_.path()), Error);
}

TEST_F(Tokens, AreHeldOutFromTheEnd) {
  count_up("1.tokens", 10);
  count_up("2.tokens", 6);
  std::vector<TokenRange> ranges = open_tokens(folder_.path());
  const std::vector<TokenRange> held_out = take_from_end(ranges, 9);
  EXPECT_EQ(count_tokens(ranges), 7);
  ASSERT_EQ(held_out.size(), 2u);
  EXPECT_EQ(held_out[0].first, 7);
  EXPECT_EQ(held_out[0].count, 3);
  const TokenDataset data(held_out, TokenWindow::all(2), kEveryone);
  const std::vector<int64_t> indices = {0};
  EXPECT_THAT(row(data.fetch(indices).inputs, 0), ElementsAre(7, 8));
}

}  // namespace
}  // namespace wattle
