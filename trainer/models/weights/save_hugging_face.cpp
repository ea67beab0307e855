#include <fmt/format.h>

#include <filesystem>
#include <map>

#include "common/atomic_file.h"
#include "common/error.h"
#include "formats/ggml_blocks.h"
#include "formats/safetensors.h"
#include "trainer/models/weights/file_options.h"
#include "trainer/models/weights/layout.h"
#include "trainer/models/weights/model_file.h"
#include "trainer/models/weights/recipe.h"

namespace wattle {
namespace {

/// A tensor of the file to come: rows of a parameter's value.
struct Part {
  Piece piece;
  at::Tensor rows;  ///< contiguous, any float type

  int64_t columns() const { return piece.rows == 0 ? 0 : rows.numel() / piece.rows; }
};

const char* torch_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "float32";
    case DType::kF16:
      return "float16";
    case DType::kBF16:
      return "bfloat16";
    default:
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("a Hugging Face model is saved as F32, F16 or BF16, not as {}",
                              name_of(dtype)));
  }
}

[[noreturn]] void fail(const std::string& parameter, const std::string& message) {
  throw Error(ErrorCode::kInternal, fmt::format("saving parameter {}: {}", parameter, message));
}

void cut(const Recipe& recipe, const at::Tensor& value, std::map<std::string, Part>& parts) {
  int64_t row = 0;
  for (const Piece& piece : recipe.pieces) {
    if (row + piece.rows > value.size(0)) fail(recipe.parameter, "it has too few rows");
    parts.emplace(piece.tensor, Part{piece, value.narrow(0, row, piece.rows)});
    row += piece.rows;
  }
  if (row != value.size(0)) fail(recipe.parameter, "it has too many rows");
}

std::map<std::string, Part> parts_of(const ModelOptions& options,
                                     std::span<const NamedTensor> parameters) {
  std::map<std::string, at::Tensor> by_name;
  for (const NamedTensor& parameter : parameters) by_name.emplace(parameter.name, parameter.value);
  std::map<std::string, Part> parts;
  for (const Recipe& recipe : recipes_of(options, Naming::kHuggingFace)) {
    const auto found = by_name.find(recipe.parameter);
    if (found == by_name.end()) fail(recipe.parameter, "it is missing");
    cut(recipe, found->second, parts);
    by_name.erase(found);
  }
  if (!by_name.empty()) fail(by_name.begin()->first, "no file has a place for it");
  return parts;
}

std::vector<std::byte> encoded(const Part& part, DType dtype) {
  const at::Tensor rows = part.rows.detach().to(at::kFloat).contiguous();
  const std::span<const float> values(rows.data_ptr<float>(), static_cast<size_t>(rows.numel()));
  std::vector<float> arranged(values.size());
  to_file_layout(part.piece, part.columns(), values, arranged);
  std::vector<std::byte> bytes(arranged.size() * traits_of(dtype).block_bytes);
  encode(dtype, arranged, bytes);
  return bytes;
}

}  // namespace

void save_hugging_face(const std::string& folder, const ModelOptions& options,
                       std::span<const NamedTensor> parameters, DType dtype) {
  const std::string config = config_json_of(options, torch_name(dtype));
  const std::map<std::string, Part> parts = parts_of(options, parameters);
  std::vector<TensorSpec> specs;
  for (const auto& [name, part] : parts) {
    specs.push_back({name, dtype, file_shape(part.piece, part.rows.sizes().slice(1))});
  }
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(ErrorCode::kIo, folder + ": can't be made: " + error.message());

  SafetensorsWriter writer(std::filesystem::path(folder) / "model.safetensors", std::move(specs),
                           {{"format", "pt"}});
  for (const TensorSpec& spec : writer.order()) writer.append(encoded(parts.at(spec.name), dtype));
  writer.finish();
  AtomicFile file(std::filesystem::path(folder) / "config.json");
  file.write(config);
  file.commit();
}

}  // namespace wattle
