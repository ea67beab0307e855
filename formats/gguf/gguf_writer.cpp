#include <fmt/format.h>

#include <set>
#include <type_traits>

#include "common/error.h"
#include "formats/gguf/gguf.h"

namespace wattle {
namespace {

constexpr size_t kLongestKey = 65535;
constexpr size_t kLongestTensorName = 63;  // ggml keeps a terminating zero in 64 bytes
constexpr size_t kMostDimensions = 4;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kInternal, "a GGUF file can't hold " + message);
}

/// The part of a file before its data.
class Header {
 public:
  const std::string& text() const { return text_; }

  template <typename T>
  void put(T number) {
    text_.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }

  void put_magic() { text_ += "GGUF"; }

  void put_text(const std::string& text) {
    put<uint64_t>(text.size());
    text_ += text;
  }

  void put_value(const GgufValue& value) {
    put(static_cast<uint32_t>(value.index()));
    std::visit([this](const auto& content) { put_content(content); }, value);
  }

 private:
  void put_content(const std::string& text) { put_text(text); }
  void put_content(bool value) { put<uint8_t>(value ? 1 : 0); }
  template <typename T>
  requires std::is_arithmetic_v<T>
  void put_content(T number) { put(number); }

  void put_content(const GgufArray& array) {
    if (++depth_ > kGgufLargestDepth) {
      refuse(fmt::format("arrays more than {} deep", kGgufLargestDepth));
    }
    put(static_cast<uint32_t>(array.elements.index()));
    std::visit(
        [this]<typename T>(const std::vector<T>& elements) {
          put<uint64_t>(elements.size());
          for (const auto& element : elements) put_content(static_cast<const T&>(element));
        },
        array.elements);
    --depth_;
  }

  std::string text_;
  int depth_ = 0;
};

uint64_t bytes_of(const TensorSpec& tensor) {
  const std::optional<uint64_t> bytes = byte_count(tensor.dtype, tensor.shape);
  if (bytes && traits_of(tensor.dtype).ggml && tensor.shape.size() <= kMostDimensions) {
    return *bytes;
  }
  refuse(fmt::format("tensor {} ({} {})", tensor.name, name_of(tensor.dtype),
                     shape_text(tensor.shape)));
}

uint64_t padded(uint64_t bytes, uint32_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

void put_tensors(Header& header, const std::vector<TensorSpec>& tensors, uint32_t alignment) {
  std::set<std::string_view> names;
  uint64_t offset = 0;
  for (const TensorSpec& tensor : tensors) {
    if (tensor.name.empty() || tensor.name.size() > kLongestTensorName) {
      refuse(fmt::format("the tensor name \"{}\": expected 1 to {} bytes", tensor.name,
                         kLongestTensorName));
    }
    if (!names.insert(tensor.name).second) refuse("tensor " + tensor.name + " twice");
    header.put_text(tensor.name);
    header.put(static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) {
      header.put(static_cast<uint64_t>(*size));
    }
    const uint64_t bytes = bytes_of(tensor);
    header.put(*traits_of(tensor.dtype).ggml);
    header.put(offset);
    offset += padded(bytes, alignment);
  }
}

std::string header_of(const GgufMetadata& metadata, const std::vector<TensorSpec>& tensors) {
  Header header;
  header.put_magic();
  header.put<uint32_t>(3);
  header.put<uint64_t>(tensors.size());
  header.put<uint64_t>(metadata.all().size());
  for (const auto& [key, value] : metadata.all()) {
    if (key.empty() || key.size() > kLongestKey)
      refuse("a key of " + std::to_string(key.size()) + " bytes");
    header.put_text(key);
    header.put_value(value);
  }
  put_tensors(header, tensors, metadata.alignment());
  return header.text();
}

}  // namespace

std::string gguf_bytes(const GgufMetadata& metadata) {
  std::string bytes = header_of(metadata, {});
  bytes.resize(padded(bytes.size(), metadata.alignment()), '\0');
  return bytes;
}

GgufWriter::GgufWriter(const std::string& path, const GgufMetadata& metadata,
                       std::vector<TensorSpec> tensors)
    : tensors_(std::move(tensors)), alignment_(metadata.alignment()), file_(path) {
  file_.write(header_of(metadata, tensors_));
  pad();
}

void GgufWriter::append(std::span<const std::byte> bytes) {
  if (next_ == tensors_.size()) throw Error(ErrorCode::kInternal, "all tensors are written");
  const TensorSpec& tensor = tensors_[next_];
  if (bytes.size() != bytes_of(tensor)) {
    throw Error(ErrorCode::kInternal, fmt::format("tensor {} has {} bytes, got {}", tensor.name,
                                                  bytes_of(tensor), bytes.size()));
  }
  file_.write(bytes);
  pad();
  ++next_;
}

void GgufWriter::pad() {
  file_.write(std::string(padded(file_.offset(), alignment_) - file_.offset(), '\0'));
}

void GgufWriter::finish() {
  if (next_ != tensors_.size()) {
    throw Error(ErrorCode::kInternal,
                fmt::format("{} of {} tensors are written", next_, tensors_.size()));
  }
  file_.commit();
}

}  // namespace wattle
