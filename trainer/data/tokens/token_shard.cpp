#include "trainer/data/tokens/token_shard.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <limits>
#include <utility>

#include "common/error.h"

namespace wattle {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are little-endian");

constexpr std::array<char, 8> kMagic = {'W', 'T', 'L', 'T', 'O', 'K', 'E', 'N'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kBlockBytes = 64 << 10;
constexpr uint64_t kMostTokens = std::numeric_limits<int64_t>::max() / 8;
constexpr uint64_t kLargestVocab = uint64_t{1} << 32;

/// The first 64 bytes of a shard.
struct Header {
  std::array<char, 8> magic = kMagic;
  uint32_t version = kVersion;
  uint32_t token_bytes = 0;
  uint64_t count = 0;
  uint64_t vocab = 0;
  uint64_t tokenizer_hash = 0;
  uint64_t source_hash = 0;
  uint64_t block_bytes = kBlockBytes;
  uint64_t checksum = 0;  ///< XXH3 of the bytes before it

  uint64_t own_checksum() const { return XXH3_64bits(this, offsetof(Header, checksum)); }
};
static_assert(sizeof(Header) == 64);

uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

uint64_t block_count(uint64_t data_bytes) {
  return round_up(data_bytes, kBlockBytes) / kBlockBytes;
}

/// Where the table of checksums starts: after the tokens, at a multiple of 8.
uint64_t table_offset(uint64_t data_bytes) { return sizeof(Header) + round_up(data_bytes, 8); }

uint64_t load_u64(const std::byte* at) {
  uint64_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// "WTLTOKEN", with \xNN for what is no printable letter.
std::string quoted(const std::array<char, 8>& bytes) {
  std::string text = "\"";
  for (const char byte : bytes) {
    const auto code = static_cast<unsigned char>(byte);
    text += code >= 0x20 && code < 0x7f ? std::string(1, byte) : fmt::format("\\x{:02x}", code);
  }
  return text + "\"";
}

std::string hex(uint64_t value) { return fmt::format("{:016x}", value); }

}  // namespace

TokenShard::TokenShard(const std::string& path, std::string remedy)
    : file_(path), remedy_(std::move(remedy)) {
  read_header();
  check_size();
  check_table();
}

void TokenShard::read_header() {
  const std::span<const std::byte> bytes = file_.bytes();
  Header header;
  if (bytes.size() < sizeof header) {
    fail(0, fmt::format("a header of {} bytes", sizeof header),
         fmt::format("a file of {}", bytes.size()));
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic) {
    fail(0, "\"WTLTOKEN\"", quoted(header.magic));
  }
  if (header.version != kVersion) {
    fail(offsetof(Header, version), fmt::format("version {}", kVersion),
         std::to_string(header.version));
  }
  if (header.checksum != header.own_checksum()) {
    fail(offsetof(Header, checksum), "header checksum " + hex(header.own_checksum()),
         hex(header.checksum));
  }
  info_ = {static_cast<int64_t>(header.count), static_cast<int64_t>(header.vocab),
           header.tokenizer_hash, header.source_hash};
  if (header.count > kMostTokens || header.vocab < 1 || header.vocab > kLargestVocab ||
      header.block_bytes != kBlockBytes || header.token_bytes != info_.token_bytes()) {
    fail(offsetof(Header, token_bytes), "a consistent header",
         fmt::format("{} tokens of {} bytes, vocabulary {}, blocks of {}", header.count,
                     header.token_bytes, header.vocab, header.block_bytes));
  }
  data_bytes_ = header.count * header.token_bytes;
}

void TokenShard::check_size() const {
  const uint64_t expected =
      table_offset(data_bytes_) + (block_count(data_bytes_) + 1) * sizeof(uint64_t);
  const uint64_t got = file_.bytes().size();
  if (got == expected) return;
  fail(std::min(got, expected),
       fmt::format("a file of {} bytes for {} tokens", expected, info_.count),
       fmt::format("{} bytes", got));
}

void TokenShard::check_table() {
  const std::span<const std::byte> bytes = file_.bytes();
  const uint64_t table = table_offset(data_bytes_);
  for (uint64_t at = sizeof(Header) + data_bytes_; at < table; ++at) {
    if (bytes[at] != std::byte{0}) fail(at, "padding of zeros", hex(uint64_t(bytes[at])));
  }
  const uint64_t blocks = block_count(data_bytes_);
  checksums_ = bytes.data() + table;
  const uint64_t hash = XXH3_64bits(checksums_, blocks * sizeof(uint64_t));
  const uint64_t stored = load_u64(checksums_ + blocks * sizeof(uint64_t));
  if (stored != hash) fail(table, "a table of checksums with hash " + hex(stored), hex(hash));
  block_checked_ = std::make_unique<std::atomic<bool>[]>(blocks);
}

void TokenShard::read(int64_t first, std::span<int64_t> out) const {
  const int64_t count = static_cast<int64_t>(out.size());
  if (first < 0 || first + count > info_.count) {
    throw Error(ErrorCode::kInternal, fmt::format("{}: expected tokens in [0, {}), got [{}, {})",
                                                  path(), info_.count, first, first + count));
  }
  if (count == 0) return;
  const int64_t width = info_.token_bytes();
  check_blocks(first * width, (first + count) * width);
  const std::byte* source = file_.bytes().data() + sizeof(Header) + first * width;
  if (width == 2) {
    std::copy_n(reinterpret_cast<const uint16_t*>(source), count, out.data());
  } else {
    std::copy_n(reinterpret_cast<const uint32_t*>(source), count, out.data());
  }
}

void TokenShard::check_blocks(size_t first_byte, size_t end_byte) const {
  for (size_t block = first_byte / kBlockBytes; block * kBlockBytes < end_byte; ++block) {
    if (block_checked_[block].load(std::memory_order_relaxed)) continue;
    const size_t start = block * kBlockBytes;
    const size_t length = std::min(kBlockBytes, data_bytes_ - start);
    const size_t offset = sizeof(Header) + start;
    const uint64_t hash = XXH3_64bits(file_.bytes().data() + offset, length);
    const uint64_t stored = load_u64(checksums_ + block * sizeof(uint64_t));
    if (hash != stored) {
      fail(offset, fmt::format("{} bytes with checksum {}", length, hex(stored)), hex(hash));
    }
    block_checked_[block].store(true, std::memory_order_relaxed);
  }
}

void TokenShard::fail(size_t offset, const std::string& expected, const std::string& got) const {
  throw Error(ErrorCode::kFormat,
              fmt::format("{}: token shard, at byte {}: expected {}, got {}{}{}", path(), offset,
                          expected, got, remedy_.empty() ? "" : "; ", remedy_));
}

bool TokenShard::is_shard(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::kIo, path + ": can't be opened");
  std::array<char, kMagic.size()> start = {};
  file.read(start.data(), start.size());
  return start == kMagic;
}

TokenShardWriter::TokenShardWriter(const std::string& path, const TokenShardInfo& info)
    : path_(path), info_(info), file_(path) {
  Header header;
  header.token_bytes = static_cast<uint32_t>(info.token_bytes());
  header.count = static_cast<uint64_t>(info.count);
  header.vocab = static_cast<uint64_t>(info.vocab);
  header.tokenizer_hash = info.tokenizer_hash;
  header.source_hash = info.source_hash;
  header.checksum = header.own_checksum();
  file_.write(std::as_bytes(std::span(&header, 1)));
  block_.reserve(kBlockBytes);
}

void TokenShardWriter::append(std::span<const uint32_t> tokens) {
  const size_t width = static_cast<size_t>(info_.token_bytes());
  while (!tokens.empty()) {
    const size_t room = (kBlockBytes - block_.size()) / width;
    const std::span<const uint32_t> part = tokens.first(std::min(room, tokens.size()));
    check_vocabulary(part);
    const size_t at = block_.size();
    block_.resize(at + part.size() * width);
    if (width == 2) {
      std::copy(part.begin(), part.end(), reinterpret_cast<uint16_t*>(block_.data() + at));
    } else {
      std::memcpy(block_.data() + at, part.data(), part.size_bytes());
    }
    if (block_.size() == kBlockBytes) flush_block();
    appended_ += static_cast<int64_t>(part.size());
    tokens = tokens.subspan(part.size());
  }
}

void TokenShardWriter::check_vocabulary(std::span<const uint32_t> tokens) const {
  const auto outside = std::find_if(tokens.begin(), tokens.end(),
                                    [&](uint32_t token) { return token >= info_.vocab; });
  if (outside == tokens.end()) return;
  throw Error(ErrorCode::kFormat,
              fmt::format("{}: token {}: expected less than {}, got {}", path_,
                          appended_ + (outside - tokens.begin()), info_.vocab, *outside));
}

void TokenShardWriter::commit() {
  if (appended_ != info_.count) {
    throw Error(ErrorCode::kInternal,
                fmt::format("{}: expected {} tokens, got {}", path_, info_.count, appended_));
  }
  if (!block_.empty()) flush_block();
  const std::vector<std::byte> padding(round_up(file_.offset(), 8) - file_.offset());
  file_.write(padding);
  file_.write(std::as_bytes(std::span(checksums_)));
  const uint64_t hash = XXH3_64bits(checksums_.data(), checksums_.size() * sizeof(uint64_t));
  file_.write(std::as_bytes(std::span(&hash, 1)));
  file_.commit();
}

void TokenShardWriter::flush_block() {
  checksums_.push_back(XXH3_64bits(block_.data(), block_.size()));
  file_.write(block_);
  block_.clear();
}

}  // namespace wattle
