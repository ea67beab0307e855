#include "trainer/data/tokens/text_tokens.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/support/scratch_folder.h"
#include "trainer/data/tokens/command.h"
#include "trainer/data/tokens/token_shard.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class TextTokens : public testing::Test {
 protected:
  const TextTokenizer kBytes{"bytes", {}, ""};

  /// A tokenizer that is a shell script; $1 is the tokenizer's file, $2 the text, $3 the output.
  TextTokenizer scripted(const std::string& script) {
    folder_.put("tokenizer.json", "{}");
    return {folder_.path("tokenizer.json"), {"sh", "-c", script, "sh"}, ""};
  }
  std::string text(const std::string& content) {
    folder_.put("verse.txt", content);
    return folder_.path("verse.txt");
  }
  static std::vector<int64_t> tokens_at(const std::string& path) {
    const TokenShard shard(path);
    std::vector<int64_t> tokens(static_cast<size_t>(shard.info().count));
    shard.read(0, tokens);
    return tokens;
  }
  std::vector<std::string> cached() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path(".tokens"))) {
      names.push_back(entry.path().filename());
    }
    return names;
  }
  /// The size of the file that is written aside; 0 before there is one.
  uint64_t bytes_aside() const {
    std::error_code vanished;
    for (const auto& entry :
         std::filesystem::directory_iterator(folder_.path(".tokens"), vanished)) {
      const uint64_t size = entry.file_size(vanished);
      if (entry.path().extension() == ".tmp" && !vanished) return size;
    }
    return 0;
  }
  /// Tokenises in a process that gets a SIGKILL once so many bytes are written aside.
  void kill_tokenising(const std::string& path, uint64_t bytes) {
    std::filesystem::remove_all(folder_.path(".tokens"));
    const pid_t child = ::fork();
    if (child == 0) {
      prepare_tokens(path, kBytes);
      ::_exit(0);
    }
    while (bytes_aside() <= bytes && ::waitpid(child, nullptr, WNOHANG) == 0) ::usleep(50);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  static std::string failure(const std::string& path, const TextTokenizer& tokenizer) {
    try {
      prepare_tokens(path, tokenizer);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  ScratchFolder folder_;
};

TEST_F(TextTokens, AreTheBytesOfTheText) {
  const std::string path = text("A\xff\n");
  prepare_tokens(path, kBytes);
  const std::string shard = tokens_path(path, kBytes);
  EXPECT_THAT(shard, StartsWith(folder_.path(".tokens/verse-")));
  EXPECT_THAT(tokens_at(shard), ElementsAre(65, 255, 10));
  EXPECT_EQ(TokenShard(shard).info().vocab, 256);
}

TEST_F(TextTokens, AreMadeOnce) {
  const std::string path = text("In the beginning");
  prepare_tokens(path, kBytes);
  const auto written = std::filesystem::last_write_time(tokens_path(path, kBytes));
  prepare_tokens(path, kBytes);
  EXPECT_EQ(std::filesystem::last_write_time(tokens_path(path, kBytes)), written);
  EXPECT_EQ(cached().size(), 1u);
}

TEST_F(TextTokens, AreMadeAgainWhenTheTextChanges) {
  const std::string before = tokens_path(text("In the beginning"), kBytes);
  const std::string path = text("In the beginninG");
  EXPECT_NE(tokens_path(path, kBytes), before);
  prepare_tokens(path, kBytes);
  EXPECT_EQ(tokens_at(tokens_path(path, kBytes)).back(), 'G');
}

TEST_F(TextTokens, AreMadeAgainWhenTheTokenizerChanges) {
  const std::string path = text("In the beginning");
  const TextTokenizer tokenizer = scripted("");
  const std::string before = tokens_path(path, tokenizer);
  folder_.put("tokenizer.json", "{ }");
  EXPECT_NE(tokens_path(path, tokenizer), before);
  EXPECT_NE(tokens_path(path, tokenizer), tokens_path(path, kBytes));
}

TEST_F(TextTokens, ComeFromTheCommand) {
  const std::string path = text("anything");
  const TextTokenizer tokenizer = scripted(R"(printf '\1\0\0\0\0\1\0\0' > "$3"; echo vocab 300)");
  prepare_tokens(path, tokenizer);
  EXPECT_THAT(tokens_at(tokens_path(path, tokenizer)), ElementsAre(1, 256));
  EXPECT_EQ(TokenShard(tokens_path(path, tokenizer)).info().vocab, 300);
  EXPECT_EQ(cached().size(), 1u) << "the command's own output is gone";
}

TEST_F(TextTokens, ShowWhatACommandSaidThatFailed) {
  const std::string path = text("anything");
  EXPECT_THAT(failure(path, scripted("echo half > \"$3\"; echo no merges >&2; exit 3")),
              testing::AllOf(HasSubstr("verse.txt: can't be tokenised with "),
                             HasSubstr("ended with 3:\nno merges")));
  EXPECT_THAT(failure(path, scripted("kill -9 $$")), HasSubstr("ended with 137"));
  EXPECT_THAT(failure(path, scripted("echo nothing")), HasSubstr("expected 'vocab N'"));
  EXPECT_THAT(failure(path, scripted("printf '\\7\\0\\0\\0' > \"$3\"; echo vocab 5")),
              HasSubstr("token 0: expected less than 5, got 7"));
  TextTokenizer absent = scripted("");
  absent.command = {"/no/such/program"};
  EXPECT_THAT(failure(path, absent), HasSubstr("/no/such/program: can't be started: No such file"));
  EXPECT_TRUE(cached().empty()) << "no failure leaves anything";
}

TEST_F(TextTokens, NameTheTextThatIsMissing) {
  EXPECT_THAT(failure(folder_.path("absent.txt"), kBytes),
              HasSubstr("absent.txt: can't be opened"));
}

TEST_F(TextTokens, AreWholeOrAbsentAfterAKill) {
  constexpr size_t kTokens = 4 << 20;
  const std::string path = text(std::string(kTokens, 'x'));
  const std::string shard = tokens_path(path, kBytes);
  int interrupted = 0;
  for (uint64_t kill_at = 0; kill_at <= 2 * kTokens; kill_at += kTokens / 16) {
    kill_tokenising(path, kill_at);
    if (!std::filesystem::exists(shard)) {
      ++interrupted;
      continue;
    }
    ASSERT_EQ(tokens_at(shard).size(), kTokens);
    std::filesystem::remove(shard);
  }
  EXPECT_GT(interrupted, 0);
  prepare_tokens(path, kBytes);
  EXPECT_EQ(tokens_at(shard).size(), kTokens) << "what was left behind is in nobody's way";
}

TEST(Command, CollectsBothOutputs) {
  const CommandResult result = run_command({"sh", "-c", "echo out; echo err >&2; exit 4"});
  EXPECT_EQ(result.output, "out\nerr\n");
  EXPECT_EQ(result.exit_code, 4);
}

}  // namespace
}  // namespace wattle
