#pragma once

#include <fmt/format.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "common/error.h"

namespace wattle {

static_assert(std::endian::native == std::endian::little, "the formats here are little-endian");

/// Reads little-endian values one after the other and never past the end. Every failure is an
/// Error(kFormat) that names the source, the offset, what was expected and what came.
class ByteReader {
 public:
  /// `source` (a path) stands in messages; both must outlive the reader.
  ByteReader(std::span<const std::byte> bytes, std::string_view source)
      : bytes_(bytes), source_(source) {}

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return bytes_.size() - offset_; }

  /// `what` names the value in messages.
  template <typename T>
  T read(std::string_view what) {
    require(1, sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  std::string read_text(uint64_t bytes, std::string_view what) {
    require(bytes, 1, what);
    std::string text(reinterpret_cast<const char*>(bytes_.data() + offset_), bytes);
    offset_ += bytes;
    return text;
  }

  /// Refuses a count before anything is allocated for it: that many values of at least
  /// `smallest_bytes` each must still be there.
  void require(uint64_t count, uint64_t smallest_bytes, std::string_view what) const {
    if (count <= remaining() / smallest_bytes) return;
    fail(fmt::format("expected {} with {} x {} bytes, but {} bytes remain of {}", what, count,
                     smallest_bytes, remaining(), bytes_.size()));
  }

  [[noreturn]] void fail(std::string_view message) const { fail_at(offset_, message); }
  [[noreturn]] void fail_at(uint64_t offset, std::string_view message) const {
    throw Error(ErrorCode::kFormat, fmt::format("{}: byte {}: {}", source_, offset, message));
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view source_;
  uint64_t offset_ = 0;
};

}  // namespace wattle
