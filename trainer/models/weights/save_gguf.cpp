#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "common/error.h"
#include "trainer/models/weights/file_options.h"
#include "trainer/models/weights/model_file.h"
#include "trainer/models/weights/parts.h"

namespace wattle {
namespace {

constexpr const char* kTokenizer = "tokenizer.";
constexpr const char* kTokens = "tokenizer.ggml.tokens";

/// `general.file_type`, llama.cpp's enum llama_ftype.
uint32_t file_type_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return 1;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ8_0:
      return 7;
    case DType::kQ6_K:
      return 18;
    case DType::kBF16:
      return 32;
    case DType::kTQ2_0:
      return 37;
    default:
      return 0;
  }
}

DType type_of(const Part& part, const GgufContents& contents) {
  if (part.rows.dim() < 2 || part.piece.tensor.starts_with("position_embd")) return DType::kF32;
  const auto found = contents.types.find(part.parameter);
  return found == contents.types.end() ? contents.dtype : found->second;
}

/// The type of which there are the most numbers.
DType main_type(const std::vector<Part>& parts, const GgufContents& contents) {
  std::map<DType, int64_t> numbers;
  for (const Part& part : parts) numbers[type_of(part, contents)] += part.rows.numel();
  return std::ranges::max_element(numbers, {}, [](const auto& entry) { return entry.second; })
      ->first;
}

void add_tokenizer(const ModelOptions& options, const GgufMetadata& tokenizer,
                   GgufMetadata& metadata) {
  if (tokenizer.all().empty()) {
    metadata.add("tokenizer.ggml.model", std::string("none"));
    return;
  }
  if (tokenizer.find(kTokens) != nullptr) {
    const auto tokens = static_cast<int64_t>(tokenizer.texts(kTokens).size());
    if (tokens != options.vocab) {
      throw Error(ErrorCode::kConfig,
                  fmt::format("the tokenizer has {} tokens, the model {}", tokens, options.vocab));
    }
  }
  for (const auto& [key, value] : tokenizer.all()) metadata.add(key, value);
}

}  // namespace

GgufMetadata tokenizer_keys(const GgufMetadata& metadata) {
  GgufMetadata keys;
  for (const auto& [key, value] : metadata.all()) {
    if (key.starts_with(kTokenizer)) keys.add(key, value);
  }
  return keys;
}

void save_gguf(const std::string& path, const ModelOptions& options,
               std::span<const NamedTensor> parameters, const GgufContents& contents) {
  GgufMetadata metadata = gguf_metadata_of(options);
  const std::vector<Part> parts = parts_of(options, Naming::kGguf, parameters);
  metadata.add("general.file_type", file_type_of(main_type(parts, contents)));
  metadata.add("general.quantization_version", uint32_t{2});
  add_tokenizer(options, contents.tokenizer, metadata);
  for (const auto& [key, value] : contents.more.all()) metadata.add(key, value);

  std::vector<TensorSpec> specs;
  for (const Part& part : parts) {
    specs.push_back({part.piece.tensor, type_of(part, contents), part.shape_in_file()});
  }
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) throw Error(ErrorCode::kIo, path + ": its folder can't be made: " + error.message());
  GgufWriter writer(path, metadata, specs);
  for (const Part& part : parts) writer.append(part.encoded(type_of(part, contents)));
  writer.finish();
}

}  // namespace wattle
