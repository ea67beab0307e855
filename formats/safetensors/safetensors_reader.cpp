#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "common/error.h"
#include "formats/byte_reader.h"
#include "formats/safetensors/safetensors.h"

namespace wattle {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kLargestHeaderBytes = 100'000'000;  // the reference's limit

/// A tensor as its header entry gives it; offsets count from the end of the header.
struct Entry {
  TensorSpec spec;
  uint64_t begin = 0;
  uint64_t end = 0;
};

/// Follows the header's JSON as it is read, so that nothing is held but the entries:
/// {"__metadata__": {"key": "text"}, "name": {"dtype": "F32", "shape": [..], "data_offsets": [b,
/// e]}}
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(std::string_view source) : source_(source) {}

  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(std::size_t) override {
    switch (place_) {
      case Place::kOutside:
        place_ = Place::kTop;
        return true;
      case Place::kMetadata:
        place_ = Place::kMetadataText;
        return true;
      case Place::kTensor:
        fields_.clear();
        entries.push_back({{entry_name_, DType::kF32, {}}, 0, 0});
        place_ = Place::kField;
        return true;
      default:
        unexpected("an object");
    }
  }

  bool end_object() override {
    if (place_ == Place::kField) {
      for (const char* field : {"dtype", "shape", "data_offsets"}) {
        if (!fields_.count(field)) fail(fmt::format("\"{}\" is missing", field));
      }
    }
    place_ = place_ == Place::kTop ? Place::kOutside : Place::kTop;
    return true;
  }

  bool key(string_t& name) override {
    if (place_ == Place::kTop) {
      if (!names_.insert(name).second) fail(fmt::format("\"{}\" stands there twice", name));
      entry_name_ = name;
      place_ = name == "__metadata__" ? Place::kMetadata : Place::kTensor;
      return true;
    }
    if (place_ == Place::kMetadataText) {
      field_ = name;
      if (metadata.count(name)) fail(fmt::format("the key \"{}\" stands there twice", name));
      return true;
    }
    field_ = name;
    if (!fields_.insert(name).second) fail(fmt::format("\"{}\" stands there twice", name));
    if (name == "dtype")
      place_ = Place::kDType;
    else if (name == "shape")
      place_ = Place::kShape;
    else if (name == "data_offsets")
      place_ = Place::kOffsets;
    else
      fail(fmt::format("expected dtype, shape and data_offsets, not \"{}\"", name));
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::kMetadataText) {
      metadata.emplace(field_, text);
      return true;
    }
    if (place_ != Place::kDType) unexpected("a text");
    const std::optional<DType> dtype = dtype_of_safetensors(text);
    if (!dtype) fail(fmt::format("unknown dtype \"{}\"", text));
    entries.back().spec.dtype = *dtype;
    place_ = Place::kField;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::kShape)
      place_ = Place::kShapeNumbers;
    else if (place_ == Place::kOffsets)
      place_ = Place::kOffsetNumbers;
    else
      unexpected("a list");
    offsets_seen_ = 0;
    return true;
  }

  bool end_array() override {
    if (place_ == Place::kOffsetNumbers && offsets_seen_ != 2) {
      fail(fmt::format("expected 2 data_offsets, got {}", offsets_seen_));
    }
    place_ = Place::kField;
    return true;
  }

  bool number_unsigned(number_unsigned_t number) override {
    if (place_ == Place::kShapeNumbers) {
      if (number > INT64_MAX) fail(fmt::format("dimension {} is too large", number));
      entries.back().spec.shape.push_back(static_cast<int64_t>(number));
      return true;
    }
    if (place_ != Place::kOffsetNumbers) unexpected("a number");
    if (offsets_seen_ < 2)
      (offsets_seen_ == 0 ? entries.back().begin : entries.back().end) = number;
    ++offsets_seen_;
    return true;
  }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t number) override {
    unexpected(fmt::format("the negative number {}", number));
  }
  bool number_float(number_float_t, const string_t& text) override {
    unexpected(fmt::format("the number {}", text));
  }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}: byte {}: the header is no valid JSON from here on", source_,
                            kLengthBytes + (position > 0 ? position - 1 : 0)));
  }

 private:
  enum class Place {
    kOutside,
    kTop,
    kMetadata,
    kMetadataText,
    kTensor,
    kField,
    kDType,
    kShape,
    kShapeNumbers,
    kOffsets,
    kOffsetNumbers,
  };

  [[noreturn]] void unexpected(std::string_view what) const {
    const char* expected = "an object of tensors";
    switch (place_) {
      case Place::kOutside:
      case Place::kTop:
        break;
      case Place::kMetadata:
        expected = "an object of texts";
        break;
      case Place::kMetadataText:
      case Place::kDType:
        expected = "a text";
        break;
      case Place::kTensor:
        expected = "an object";
        break;
      case Place::kField:
        expected = "a key";
        break;
      case Place::kShape:
      case Place::kOffsets:
        expected = "a list of numbers";
        break;
      case Place::kShapeNumbers:
      case Place::kOffsetNumbers:
        expected = "a number from 0";
        break;
    }
    fail(fmt::format("expected {}, got {}", expected, what));
  }

  [[noreturn]] void fail(std::string_view message) const {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}: header entry \"{}\": {}", source_, entry_name_, message));
  }

  std::string_view source_;
  Place place_ = Place::kOutside;
  std::string entry_name_;
  std::string field_;
  std::set<std::string> names_;
  std::set<std::string> fields_;
  int offsets_seen_ = 0;
};

[[noreturn]] void fail_tensor(std::string_view source, const Entry& entry,
                              std::string_view message) {
  throw Error(ErrorCode::kFormat,
              fmt::format("{}: tensor \"{}\" ({} {}, data bytes {} to {}): {}", source,
                          entry.spec.name, name_of(entry.spec.dtype), shape_text(entry.spec.shape),
                          entry.begin, entry.end, message));
}

/// Sorts the entries by their bytes, and checks that these are what the shapes say and fill `data`.
void check_layout(std::vector<Entry>& entries, uint64_t data_bytes, std::string_view source) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t expected_begin = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != expected_begin) {
      fail_tensor(source, entry, fmt::format("expected to begin at {}", expected_begin));
    }
    if (entry.end < entry.begin || entry.end > data_bytes) {
      fail_tensor(source, entry, fmt::format("the file holds {} data bytes", data_bytes));
    }
    const std::optional<uint64_t> bytes = byte_count(entry.spec.dtype, entry.spec.shape);
    if (!bytes) fail_tensor(source, entry, "the shape overflows");
    if (*bytes != entry.end - entry.begin) {
      fail_tensor(source, entry, fmt::format("type and shape make {} bytes", *bytes));
    }
    expected_begin = entry.end;
  }
  if (expected_begin != data_bytes) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("{}: expected {} data bytes, as the tensors have, but the file holds {}",
                    source, expected_begin, data_bytes));
  }
}

}  // namespace

SafetensorsContent parse_safetensors(std::span<const std::byte> bytes, std::string_view source) {
  ByteReader reader(bytes, source);
  const auto header_bytes = reader.read<uint64_t>("the length of the header");
  if (header_bytes > kLargestHeaderBytes) {
    reader.fail_at(0, fmt::format("expected a header of at most {} bytes, got {}",
                                  kLargestHeaderBytes, header_bytes));
  }
  reader.require(header_bytes, 1, "the header");
  const auto* header = reinterpret_cast<const char*>(bytes.data()) + kLengthBytes;
  if (header_bytes == 0 || header[0] != '{') reader.fail("expected a header that begins with {");
  HeaderReader entries(source);
  nlohmann::json::sax_parse(header, header + header_bytes, &entries);

  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + header_bytes);
  check_layout(entries.entries, data.size(), source);
  SafetensorsContent content;
  content.metadata = std::move(entries.metadata);
  for (Entry& entry : entries.entries) {
    content.tensors.add(
        {std::move(entry.spec), data.subspan(entry.begin, entry.end - entry.begin)});
  }
  return content;
}

SafetensorsModel::SafetensorsModel(const std::string& path) {
  namespace fs = std::filesystem;
  std::string file = path;
  if (fs::is_directory(path)) {
    file = fs::path(path) / "model.safetensors";
    const std::string index = fs::path(path) / "model.safetensors.index.json";
    if (!fs::exists(file) && fs::exists(index)) {
      open_shards(path, index);
      return;
    }
  }
  files_.emplace_back(file);
  SafetensorsContent content = parse_safetensors(files_.back().bytes(), file);
  tensors_ = std::move(content.tensors);
  metadata_ = std::move(content.metadata);
}

namespace {

/// The index's {"weight_map": {"tensor": "shard file"}}.
std::map<std::string, std::string> read_weight_map(const std::string& index_path) {
  const MappedFile file(index_path);
  const auto* text = reinterpret_cast<const char*>(file.bytes().data());
  const auto index = nlohmann::json::parse(text, text + file.bytes().size(), nullptr, false);
  const auto fail = [&](const char* message) {
    throw Error(ErrorCode::kFormat, index_path + ": " + message);
  };
  if (!index.is_object()) fail("expected a JSON object");
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object()) fail("expected an object \"weight_map\"");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) fail("expected the name of a file for each tensor of \"weight_map\"");
    const std::string name = shard.get<std::string>();
    // A shard lies beside its index.
    if (name.empty() || name != std::filesystem::path(name).filename().string()) {
      fail("expected plain file names in \"weight_map\"");
    }
    shards.emplace(tensor, name);
  }
  return shards;
}

}  // namespace

void SafetensorsModel::open_shards(const std::string& folder, const std::string& index_path) {
  const std::map<std::string, std::string> shard_of = read_weight_map(index_path);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards) {
    files_.emplace_back(std::filesystem::path(folder) / shard);
    SafetensorsContent content = parse_safetensors(files_.back().bytes(), files_.back().path());
    for (const TensorView& tensor : content.tensors.all()) {
      const auto expected = shard_of.find(tensor.name);
      if (expected == shard_of.end() || expected->second != shard) {
        throw Error(
            ErrorCode::kFormat,
            fmt::format(
                "{}: tensor \"{}\" is in {}, but {}", index_path, tensor.name, shard,
                expected == shard_of.end() ? "not listed" : "listed in " + expected->second));
      }
      tensors_.add(tensor);
    }
  }
  for (const auto& [tensor, shard] : shard_of) {
    if (tensors_.find(tensor) != nullptr) continue;
    throw Error(ErrorCode::kFormat, fmt::format("{}: tensor \"{}\" is listed in {}, but not there",
                                                index_path, tensor, shard));
  }
}

}  // namespace wattle
