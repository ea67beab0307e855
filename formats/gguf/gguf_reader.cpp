#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "common/error.h"
#include "formats/byte_reader.h"
#include "formats/gguf/gguf.h"

namespace wattle {
namespace {

constexpr uint64_t kLongestKey = 65535;
constexpr uint64_t kLongestTensorName = 64;
constexpr uint32_t kMostDimensions = 4;
/// The least that a key (length, one byte, type, value) and a tensor info take.
constexpr uint64_t kSmallestKeyBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kSmallestTensorBytes = 8 + 1 + 4 + 4 + 8;
constexpr uint64_t kSmallestArrayBytes = 4 + 8;

/// A tensor as its info gives it; the offset counts from the start of the data section.
struct TensorEntry {
  TensorSpec spec;
  uint64_t info_offset = 0;
  uint64_t data_offset = 0;
  uint64_t bytes = 0;
};

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, std::string_view source)
      : bytes_(bytes), source_(source), reader_(bytes, source) {}

  GgufContent parse() {
    const std::string magic = reader_.read_text(4, "the magic GGUF");
    if (magic != "GGUF") reader_.fail_at(0, "expected the magic GGUF");
    content_.version = read_version();
    const auto tensor_count = reader_.read<uint64_t>("the number of tensors");
    const auto key_count = reader_.read<uint64_t>("the number of keys");
    reader_.require(key_count, kSmallestKeyBytes, "as many keys as announced");
    for (uint64_t i = 0; i < key_count; ++i) read_key();
    reader_.require(tensor_count, kSmallestTensorBytes, "as many tensors as announced");
    std::vector<TensorEntry> entries;
    for (uint64_t i = 0; i < tensor_count; ++i) entries.push_back(read_tensor());
    place(std::move(entries));
    return std::move(content_);
  }

 private:
  uint32_t read_version() {
    const auto version = reader_.read<uint32_t>("the version");
    if (version == 2 || version == 3) return version;
    const bool swapped = version != 0 && (version & 0xffffu) == 0;
    reader_.fail_at(4, fmt::format("expected version 2 or 3, got {}",
                                   swapped ? std::string("that of a big-endian file")
                                           : std::to_string(version)));
  }

  std::string read_string(const char* what, uint64_t longest) {
    const uint64_t start = reader_.offset();
    const auto length = reader_.read<uint64_t>("the length of a string");
    if (length > longest) {
      reader_.fail_at(
          start, fmt::format("expected {} of at most {} bytes, got {}", what, longest, length));
    }
    return reader_.read_text(length, what);
  }

  void read_key() {
    const uint64_t start = reader_.offset();
    std::string key = read_string("a key", kLongestKey);
    if (key.empty()) reader_.fail_at(start, "expected a key, got an empty string");
    GgufValue value = read_value(read_type());
    if (content_.metadata.find(key) != nullptr) {
      reader_.fail_at(start, fmt::format("key {} stands there twice", key));
    }
    content_.metadata.add(std::move(key), std::move(value));
  }

  /// An index into GgufValue's alternatives.
  size_t read_type() {
    const uint64_t start = reader_.offset();
    const auto type = reader_.read<uint32_t>("the type of a value");
    if (type >= std::variant_size_v<GgufValue>) {
      reader_.fail_at(start, fmt::format("expected a value type from 0 to {}, got {}",
                                         std::variant_size_v<GgufValue> - 1, type));
    }
    return type;
  }

  /// The alternative number `type`, read by read_as<its type>().
  GgufValue read_value(size_t type) {
    return [&]<size_t... I>(std::index_sequence<I...>) {
      GgufValue value;
      ((I == type ? void(value.emplace<I>(read_as<std::variant_alternative_t<I, GgufValue>>()))
                  : void()),
       ...);
      return value;
    }
    (std::make_index_sequence<std::variant_size_v<GgufValue>>());
  }

  template <typename T>
  T read_as() {
    if constexpr (std::is_same_v<T, std::string>) {
      return read_string("a string", UINT64_MAX);
    } else if constexpr (std::is_same_v<T, GgufArray>) {
      return read_array();
    } else if constexpr (std::is_same_v<T, bool>) {
      const auto value = reader_.read<uint8_t>("a bool");
      if (value > 1) {
        reader_.fail_at(reader_.offset() - 1,
                        fmt::format("expected a bool, 0 or 1, got {}", value));
      }
      return value == 1;
    } else {
      return reader_.read<T>("a number");
    }
  }

  template <typename T>
  static constexpr uint64_t smallest_bytes() {
    if constexpr (std::is_same_v<T, std::string>) return sizeof(uint64_t);
    if constexpr (std::is_same_v<T, GgufArray>) return kSmallestArrayBytes;
    return sizeof(T);
  }

  GgufArray read_array() {
    if (++depth_ > kGgufLargestDepth) {
      reader_.fail(fmt::format("expected arrays at most {} deep", kGgufLargestDepth));
    }
    const size_t type = read_type();
    const auto count = reader_.read<uint64_t>("the length of an array");
    using Elements = decltype(GgufArray::elements);
    GgufArray array;
    [&]<size_t... I>(std::index_sequence<I...>) {
      ((I == type ? read_elements(array.elements.emplace<I>(), count) : void()), ...);
    }
    (std::make_index_sequence<std::variant_size_v<Elements>>());
    --depth_;
    return array;
  }

  template <typename T>
  void read_elements(std::vector<T>& elements, uint64_t count) {
    reader_.require(count, smallest_bytes<T>(), "an array's elements");
    elements.reserve(count);
    for (uint64_t i = 0; i < count; ++i) elements.push_back(read_as<T>());
  }

  TensorEntry read_tensor() {
    TensorEntry entry;
    entry.info_offset = reader_.offset();
    entry.spec.name = read_string("a tensor's name", kLongestTensorName);
    const auto dimensions = reader_.read<uint32_t>("the number of dimensions");
    if (dimensions > kMostDimensions) {
      fail_tensor(entry, fmt::format("expected at most {} dimensions, got {}", kMostDimensions,
                                     dimensions));
    }
    for (uint32_t i = 0; i < dimensions; ++i) {
      const auto size = reader_.read<uint64_t>("a dimension");
      if (size > INT64_MAX) fail_tensor(entry, fmt::format("dimension {} is too large", size));
      entry.spec.shape.insert(entry.spec.shape.begin(), static_cast<int64_t>(size));
    }
    const auto type = reader_.read<uint32_t>("the type of a tensor");
    const std::optional<DType> dtype = dtype_of_ggml(type);
    if (!dtype) fail_tensor(entry, fmt::format("unknown ggml type {}", type));
    entry.spec.dtype = *dtype;
    entry.data_offset = reader_.read<uint64_t>("the offset of a tensor");
    const std::optional<uint64_t> bytes = byte_count(entry.spec.dtype, entry.spec.shape);
    if (!bytes) {
      fail_tensor(entry, fmt::format("{} of type {}: expected rows of whole blocks of {} and a "
                                     "size below 2^63",
                                     shape_text(entry.spec.shape), name_of(*dtype),
                                     traits_of(*dtype).block_elements));
    }
    entry.bytes = *bytes;
    return entry;
  }

  /// Checks where the tensors' bytes lie, and adds the tensors in the order of their infos.
  void place(std::vector<TensorEntry> entries) {
    const uint64_t alignment = alignment_of_file();
    const uint64_t data_start = (reader_.offset() + alignment - 1) / alignment * alignment;
    const uint64_t data_bytes = bytes_.size() - std::min<uint64_t>(data_start, bytes_.size());
    for (const TensorEntry& entry : entries) {
      if (entry.data_offset % alignment != 0) {
        fail_tensor(entry, fmt::format("expected an offset that is a multiple of {}, got {}",
                                       alignment, entry.data_offset));
      }
      if (entry.data_offset > data_bytes || entry.bytes > data_bytes - entry.data_offset) {
        fail_tensor(entry, fmt::format("expected {} bytes from {} of the data section, which has {}"
                                       " bytes: the file is truncated or damaged",
                                       entry.bytes, entry.data_offset, data_bytes));
      }
    }
    check_overlap(entries);
    for (TensorEntry& entry : entries) {
      const uint64_t info_offset = entry.info_offset;
      const std::span<const std::byte> data =
          entry.bytes == 0 ? std::span<const std::byte>()
                           : bytes_.subspan(data_start + entry.data_offset, entry.bytes);
      std::string name = entry.spec.name;
      if (!content_.tensors.add({std::move(entry.spec), data})) {
        reader_.fail_at(info_offset, fmt::format("tensor {} stands there twice", name));
      }
    }
  }

  uint32_t alignment_of_file() const {
    try {
      return content_.metadata.alignment();
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}: {}", source_, error.what()));
    }
  }

  void check_overlap(const std::vector<TensorEntry>& entries) const {
    std::vector<const TensorEntry*> by_offset;
    for (const TensorEntry& entry : entries) {
      if (entry.bytes > 0) by_offset.push_back(&entry);
    }
    std::sort(by_offset.begin(), by_offset.end(), [](const TensorEntry* a, const TensorEntry* b) {
      return a->data_offset < b->data_offset;
    });
    for (size_t i = 1; i < by_offset.size(); ++i) {
      const TensorEntry& before = *by_offset[i - 1];
      if (before.data_offset + before.bytes <= by_offset[i]->data_offset) continue;
      fail_tensor(*by_offset[i], fmt::format("its bytes overlap those of {}", before.spec.name));
    }
  }

  [[noreturn]] void fail_tensor(const TensorEntry& entry, std::string_view message) const {
    reader_.fail_at(entry.info_offset, fmt::format("tensor {}: {}", entry.spec.name, message));
  }

  std::span<const std::byte> bytes_;
  std::string_view source_;
  ByteReader reader_;
  GgufContent content_;
  int depth_ = 0;
};

}  // namespace

GgufContent parse_gguf(std::span<const std::byte> bytes, std::string_view source) {
  return Parser(bytes, source).parse();
}

}  // namespace wattle
