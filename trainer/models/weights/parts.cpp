#include "trainer/models/weights/parts.h"

#include <fmt/format.h>

#include "common/error.h"
#include "formats/gguf/ggml_blocks.h"
#include "trainer/models/weights/layout.h"

namespace wattle {
namespace {

[[noreturn]] void fail(const std::string& parameter, const std::string& message) {
  throw Error(ErrorCode::kInternal, fmt::format("saving parameter {}: {}", parameter, message));
}

void cut(const Recipe& recipe, const at::Tensor& value, std::vector<Part>& parts) {
  int64_t row = 0;
  for (const Piece& piece : recipe.pieces) {
    if (row + piece.rows > value.size(0)) fail(recipe.parameter, "it has too few rows");
    parts.push_back({recipe.parameter, piece, value.narrow(0, row, piece.rows)});
    row += piece.rows;
  }
  if (row != value.size(0)) fail(recipe.parameter, "it has too many rows");
}

}  // namespace

std::vector<int64_t> Part::shape_in_file() const {
  return file_shape(piece, rows.sizes().slice(1));
}

std::vector<std::byte> Part::encoded(DType dtype) const {
  const at::Tensor numbers = rows.detach().to(at::kFloat).contiguous();
  const std::span<const float> values(numbers.data_ptr<float>(),
                                      static_cast<size_t>(numbers.numel()));
  std::vector<float> arranged(values.size());
  to_file_layout(piece, piece.rows == 0 ? 0 : numbers.numel() / piece.rows, values, arranged);
  std::vector<std::byte> bytes(byte_count(dtype, shape_in_file()).value_or(0));
  try {
    encode(dtype, arranged, bytes);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", piece.tensor, error.what()));
  }
  return bytes;
}

std::vector<Part> parts_of(const ModelOptions& options, Naming naming,
                           std::span<const NamedTensor> parameters) {
  std::map<std::string, at::Tensor> by_name;
  for (const NamedTensor& parameter : parameters) by_name.emplace(parameter.name, parameter.value);
  std::vector<Part> parts;
  for (const Recipe& recipe : recipes_of(options, naming)) {
    const auto found = by_name.find(recipe.parameter);
    if (found == by_name.end()) fail(recipe.parameter, "it is missing");
    cut(recipe, found->second, parts);
    by_name.erase(found);
  }
  if (!by_name.empty()) fail(by_name.begin()->first, "no file has a place for it");
  return parts;
}

}  // namespace wattle
