#include "trainer/data/tokens/text_tokens.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <span>
#include <string_view>

#include "common/error.h"
#include "common/mapped_file.h"
#include "trainer/data/tokens/command.h"
#include "trainer/data/tokens/token_shard.h"

namespace wattle {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBytes = "bytes";
constexpr int64_t kByteVocab = 256;
/// Part of every name in the cache; another number where the same text gives other tokens.
constexpr uint64_t kTokenizingVersion = 1;

uint64_t hash_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

uint64_t hash_of_file(const std::string& path) {
  return hash_of(MappedFile(path, MappedFile::Access::kSequential).bytes());
}

uint64_t hash_of_tokenizer(const std::string& tokenizer) {
  if (tokenizer == kBytes) return XXH3_64bits(kBytes, std::strlen(kBytes));
  return hash_of_file(tokenizer);
}

/// A file that goes away again.
struct ScratchFile {
  std::string path;
  ~ScratchFile() { ::unlink(path.c_str()); }
};

void write_byte_tokens(const std::string& shard_path, TokenShardInfo info,
                       std::span<const std::byte> text) {
  info.vocab = kByteVocab;
  info.count = static_cast<int64_t>(text.size());
  TokenShardWriter writer(shard_path, info);
  std::array<uint32_t, 4096> tokens;
  while (!text.empty()) {
    const size_t count = std::min(tokens.size(), text.size());
    for (size_t i = 0; i < count; ++i) tokens[i] = static_cast<uint32_t>(text[i]);
    writer.append(std::span(tokens).first(count));
    text = text.subspan(count);
  }
  writer.commit();
}

/// The helper's last line is "vocab N".
int64_t vocab_in(const std::string& output, const std::string& command) {
  constexpr std::string_view kWord = "vocab ";
  int64_t vocab = 0;
  const size_t at = output.rfind(kWord);
  if (at != std::string::npos) {
    std::from_chars(output.data() + at + kWord.size(), output.data() + output.size(), vocab);
  }
  if (vocab < 1) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("{}: expected 'vocab N' at the end of its output, got:\n{}", command, output));
  }
  return vocab;
}

void write_model_tokens(const std::string& shard_path, TokenShardInfo info,
                        const std::string& text_path, const TextTokenizer& tokenizer) {
  const ScratchFile raw{fmt::format("{}.{}.u32", shard_path, ::getpid())};
  std::vector<std::string> command = tokenizer.command;
  command.insert(command.end(), {tokenizer.tokenizer, text_path, raw.path});
  const CommandResult result = run_command(command);
  if (result.exit_code != 0) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("{}: can't be tokenised with {}: {} ended with {}:\n{}", text_path,
                    tokenizer.tokenizer, fmt::join(command, " "), result.exit_code, result.output));
  }
  info.vocab = vocab_in(result.output, command.front());
  const MappedFile file(raw.path, MappedFile::Access::kSequential);
  const std::span<const std::byte> bytes = file.bytes();
  info.count = static_cast<int64_t>(bytes.size() / sizeof(uint32_t));
  TokenShardWriter writer(shard_path, info);
  writer.append({reinterpret_cast<const uint32_t*>(bytes.data()), bytes.size() / sizeof(uint32_t)});
  writer.commit();
}

}  // namespace

std::string tokens_path(const std::string& text_path, const TextTokenizer& tokenizer) {
  const std::array<uint64_t, 3> key = {kTokenizingVersion, hash_of_file(text_path),
                                       hash_of_tokenizer(tokenizer.tokenizer)};
  const fs::path text(text_path);
  const fs::path folder =
      tokenizer.cache_dir.empty() ? text.parent_path() / ".tokens" : fs::path(tokenizer.cache_dir);
  const uint64_t name = XXH3_64bits(key.data(), sizeof key);
  return folder / fmt::format("{}-{:016x}.tokens", text.stem().string(), name);
}

void prepare_tokens(const std::string& text_path, const TextTokenizer& tokenizer) {
  const std::string shard_path = tokens_path(text_path, tokenizer);
  if (fs::exists(shard_path)) return;
  std::error_code error;
  fs::create_directories(fs::path(shard_path).parent_path(), error);
  if (error) {
    throw Error(ErrorCode::kIo,
                fmt::format("{}: can't be created: {}", fs::path(shard_path).parent_path().string(),
                            error.message()));
  }
  const MappedFile text(text_path, MappedFile::Access::kSequential);
  TokenShardInfo info;
  info.source_hash = hash_of(text.bytes());
  info.tokenizer_hash = hash_of_tokenizer(tokenizer.tokenizer);
  if (tokenizer.tokenizer == kBytes) {
    write_byte_tokens(shard_path, info, text.bytes());
  } else {
    write_model_tokens(shard_path, info, text_path, tokenizer);
  }
}

}  // namespace wattle
