#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/atomic_file.h"
#include "common/mapped_file.h"
#include "formats/tensor_info.h"

namespace wattle {

/// GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): keys with typed values, then
/// tensors. Little-endian; versions 2 and 3 are read, 3 is written.

struct GgufArray;

/// A key's value; the alternative's index is the type's number in the file.
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                               std::string, GgufArray, uint64_t, int64_t, double>;

/// Elements of one type; arrays of arrays nest up to kGgufLargestDepth.
struct GgufArray {
  std::variant<std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>,
               std::vector<int16_t>, std::vector<uint32_t>, std::vector<int32_t>,
               std::vector<float>, std::vector<bool>, std::vector<std::string>,
               std::vector<GgufArray>, std::vector<uint64_t>, std::vector<int64_t>,
               std::vector<double>>
      elements;
  bool operator==(const GgufArray&) const = default;
};

inline constexpr int kGgufLargestDepth = 4;
inline constexpr uint32_t kGgufAlignment = 32;  ///< where general.alignment doesn't say otherwise

/// The keys of a file, in its order.
class GgufMetadata {
 public:
  /// False, and nothing changes, if the key is taken.
  bool add(std::string key, GgufValue value);
  std::span<const std::pair<std::string, GgufValue>> all() const { return entries_; }
  /// nullptr if there is none. Valid until the next add().
  const GgufValue* find(std::string_view key) const;

  // The value of a key that a loader needs. Error(kFormat), which names the key, the type expected
  // and the one that is there, if it is missing or of another type. Any integer type serves as an
  // integer if it holds its value, and any number as a number.
  uint64_t unsigned_integer(std::string_view key) const;
  double number(std::string_view key) const;
  const std::string& text(std::string_view key) const;
  const std::vector<std::string>& texts(std::string_view key) const;
  /// general.alignment, a power of two; kGgufAlignment without the key.
  uint32_t alignment() const;

 private:
  const GgufValue& required(std::string_view key, const char* expected) const;

  std::vector<std::pair<std::string, GgufValue>> entries_;
  std::map<std::string, size_t, std::less<>> by_key_;
};

/// What stands in a file; the views point into its bytes.
struct GgufContent {
  uint32_t version = 3;
  GgufMetadata metadata;
  TensorTable tensors;
};

/// Reads and checks everything but the tensors' numbers: types, counts against the bytes that are
/// there before anything is allocated for them, names, alignment, that tensors lie within the file
/// and share no byte. Takes memory in proportion to the bytes. `source` stands in messages.
/// Throws Error(kFormat).
GgufContent parse_gguf(std::span<const std::byte> bytes, std::string_view source);

/// A mapped file and its content. Views live as long as this object. Throws Error(kIo) and
/// Error(kFormat).
class GgufFile {
 public:
  explicit GgufFile(const std::string& path)
      : file_(path), content_(parse_gguf(file_.bytes(), path)) {}

  const std::string& path() const { return file_.path(); }
  const GgufMetadata& metadata() const { return content_.metadata; }
  const TensorTable& tensors() const { return content_.tensors; }

 private:
  MappedFile file_;
  GgufContent content_;
};

/// The bytes of a file with these keys and no tensors; parse_gguf() reads them. Throws as
/// GgufWriter does.
std::string gguf_bytes(const GgufMetadata& metadata);

/// Writes a file tensor by tensor, keys and tensors in the order given; equal content gives equal
/// bytes. The file appears, whole and durable, with finish().
///
/// Throws Error(kIo) if it can't be written; Error(kInternal) for what ggml would not load: a key
/// longer than 65535 bytes or a tensor's name longer than 63, more than 4 dimensions, a type that
/// GGUF doesn't have, a name given twice, or data that don't fit.
class GgufWriter {
 public:
  /// `general.alignment` among the keys sets the alignment.
  GgufWriter(const std::string& path, const GgufMetadata& metadata,
             std::vector<TensorSpec> tensors);

  /// All bytes of the next tensor.
  void append(std::span<const std::byte> bytes);
  void finish();

 private:
  void pad();

  std::vector<TensorSpec> tensors_;
  uint32_t alignment_;
  size_t next_ = 0;
  AtomicFile file_;
};

}  // namespace wattle
