#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/atomic_file.h"
#include "common/mapped_file.h"

namespace wattle {

/// What a shard says of its tokens; docs/DATA.md has the bytes of the file.
struct TokenShardInfo {
  int64_t count = 0;            ///< tokens
  int64_t vocab = 0;            ///< every token is in [0, vocab)
  uint64_t tokenizer_hash = 0;  ///< XXH3 of what made tokens out of text
  uint64_t source_hash = 0;     ///< XXH3 of the text

  /// 2 where every token of the vocabulary fits, else 4.
  int64_t token_bytes() const { return vocab <= (int64_t{1} << 16) ? 2 : 4; }
  bool operator==(const TokenShardInfo&) const = default;
};

/// Tokens in a file, mapped. Opening checks the header, the size and the table of checksums; the
/// tokens themselves are checked block by block as they are first read, so that a large shard opens
/// at once. Any number of threads may read.
class TokenShard {
 public:
  /// Throws Error(kIo), or Error(kFormat) naming file, offset, what was expected and what came, and
  /// then `remedy`: what can be done about a damaged file, if that is known.
  explicit TokenShard(const std::string& path, std::string remedy = "");

  const std::string& path() const { return file_.path(); }
  const TokenShardInfo& info() const { return info_; }

  /// Tokens [first, first + out.size()). Throws Error(kFormat) if a block is damaged.
  void read(int64_t first, std::span<int64_t> out) const;

  /// Whether the file starts as a shard does. Throws Error(kIo) if it can't be read.
  static bool is_shard(const std::string& path);

 private:
  void read_header();
  void check_size() const;
  void check_table();
  void check_blocks(size_t first_byte, size_t end_byte) const;
  [[noreturn]] void fail(size_t offset, const std::string& expected, const std::string& got) const;

  MappedFile file_;
  std::string remedy_;
  TokenShardInfo info_;
  size_t data_bytes_ = 0;
  const std::byte* checksums_ = nullptr;
  std::unique_ptr<std::atomic<bool>[]> block_checked_;
};

/// Writes a shard aside and puts it in its place with commit(), whole or not at all.
class TokenShardWriter {
 public:
  /// Throws Error(kIo), as do the other members.
  TokenShardWriter(const std::string& path, const TokenShardInfo& info);

  /// Throws Error(kFormat) if a token is not in the vocabulary.
  void append(std::span<const uint32_t> tokens);
  /// Throws Error(kInternal) unless info.count tokens were appended.
  void commit();

 private:
  void check_vocabulary(std::span<const uint32_t> tokens) const;
  void flush_block();

  std::string path_;
  TokenShardInfo info_;
  AtomicFile file_;
  int64_t appended_ = 0;
  std::vector<std::byte> block_;
  std::vector<uint64_t> checksums_;
};

}  // namespace wattle
