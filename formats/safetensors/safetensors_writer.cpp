#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "common/error.h"
#include "formats/safetensors/safetensors.h"

namespace wattle {
namespace {

uint64_t bytes_of(const TensorSpec& tensor) {
  const std::optional<uint64_t> bytes = byte_count(tensor.dtype, tensor.shape);
  if (traits_of(tensor.dtype).in_safetensors && bytes) return *bytes;
  throw Error(ErrorCode::kInternal,
              fmt::format("tensor \"{}\" ({} {}) can't stand in a safetensors file", tensor.name,
                          name_of(tensor.dtype), shape_text(tensor.shape)));
}

std::vector<TensorSpec> in_file_order(std::vector<TensorSpec> tensors) {
  // Widest first keeps every tensor aligned to its type.
  std::sort(tensors.begin(), tensors.end(), [](const TensorSpec& a, const TensorSpec& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  return tensors;
}

/// Text that is no UTF-8 throws, as JSON can't hold it.
std::string quoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCode::kInternal, "a safetensors header holds UTF-8 alone");
  }
}

/// Written by hand because the order of the entries is part of the file.
std::string header_text(std::span<const TensorSpec> tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> entries;
  if (!metadata.empty()) {
    entries.push_back("\"__metadata__\":" + nlohmann::json(metadata).dump());
  }
  std::set<std::string> names = {"__metadata__"};
  uint64_t offset = 0;
  for (const TensorSpec& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      throw Error(ErrorCode::kInternal, "tensor \"" + tensor.name + "\" is to be written twice");
    }
    const uint64_t end = offset + bytes_of(tensor);
    entries.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                                  quoted(tensor.name), name_of(tensor.dtype),
                                  nlohmann::json(tensor.shape).dump(), offset, end));
    offset = end;
  }
  std::string text = fmt::format("{{{}}}", fmt::join(entries, ","));
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<TensorSpec> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : tensors_(in_file_order(std::move(tensors))), file_(path) {
  const std::string header = header_text(tensors_, metadata);
  const uint64_t header_bytes = header.size();
  file_.write(std::as_bytes(std::span(&header_bytes, 1)));
  file_.write(header);
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
  if (next_ == tensors_.size()) throw Error(ErrorCode::kInternal, "all tensors are written");
  const TensorSpec& tensor = tensors_[next_];
  if (bytes.size() != bytes_of(tensor)) {
    throw Error(ErrorCode::kInternal, fmt::format("tensor \"{}\" has {} bytes, got {}", tensor.name,
                                                  bytes_of(tensor), bytes.size()));
  }
  file_.write(bytes);
  ++next_;
}

void SafetensorsWriter::finish() {
  if (next_ != tensors_.size()) {
    throw Error(ErrorCode::kInternal,
                fmt::format("{} of {} tensors are written", next_, tensors_.size()));
  }
  file_.commit();
}

void write_safetensors(const std::string& path, std::span<const TensorView> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::map<std::string_view, std::span<const std::byte>> bytes_by_name;
  std::vector<TensorSpec> specs;
  for (const TensorView& tensor : tensors) {
    specs.push_back(tensor);
    bytes_by_name.emplace(tensor.name, tensor.bytes);
  }
  SafetensorsWriter writer(path, std::move(specs), metadata);
  for (const TensorSpec& tensor : writer.order()) writer.append(bytes_by_name.at(tensor.name));
  writer.finish();
}

}  // namespace wattle
