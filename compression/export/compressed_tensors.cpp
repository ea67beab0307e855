#include "compression/export/compressed_tensors.h"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "common/atomic_file.h"
#include "common/error.h"
#include "compression/export/export_refusals.h"
#include "compression/formats/grid_format.h"
#include "formats/safetensors/safetensors.h"
#include "trainer/models/weights/file_options.h"
#include "trainer/models/weights/parts.h"

namespace wattle {
namespace {

using nlohmann::ordered_json;

constexpr const char* kWeight = ".weight";
/// Of the library whose layout this is.
constexpr const char* kVersion = "0.20.0";

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kUnsupported, "export to compressed-tensors: " + message);
}

/// The tensors of the file, by name.
using Tensors = std::map<std::string, std::pair<TensorSpec, std::vector<std::byte>>>;

void put(Tensors& tensors, const std::string& name, DType dtype, std::vector<int64_t> shape,
         std::vector<std::byte> bytes) {
  tensors[name] = {{name, dtype, std::move(shape)}, std::move(bytes)};
}

template <class T>
std::vector<std::byte> bytes_of(std::span<const T> numbers) {
  const auto bytes = std::as_bytes(numbers);
  return {bytes.begin(), bytes.end()};
}

/// Codes as int32 words: each code plus half the range, the first in the lowest bits. `values` is
/// [outer, inner]; along inner, `count` codes a word, the last one filled up with zeros.
std::vector<int32_t> packed(std::span<const int8_t> values, int64_t outer, int64_t inner,
                            int64_t bits) {
  const int64_t count = 32 / bits;
  const int64_t words = (inner + count - 1) / count;
  std::vector<int32_t> result(outer * words);
  for (int64_t row = 0; row < outer; ++row) {
    for (int64_t i = 0; i < inner; ++i) {
      const auto code = static_cast<uint32_t>(values[row * inner + i] + (1 << (bits - 1)));
      auto& word = reinterpret_cast<uint32_t&>(result[row * words + i / count]);
      word |= code << (bits * (i % count));
    }
  }
  return result;
}

/// A weight's codes and scales, from which rows of the model's order are cut.
class QuantizedRows {
 public:
  QuantizedRows(const std::string& name, const DeployedWeight& weight)
      : format_(options_of(name, weight)),
        encoded_(weight.format->encode(weight.values, weight.scales ? &*weight.scales : nullptr)),
        rows_(weight.values.size(0)),
        columns_(weight.values.size(1)) {}

  static GridFormatOptions options_of(const std::string& name, const DeployedWeight& weight) {
    const std::string refusal = compressed_tensors_refusal(*weight.format);
    if (!refusal.empty()) {
      refuse(fmt::format("{} is {}; {}", name, weight.format->name(), refusal));
    }
    return *weight.format->grid();
  }

  const GridFormatOptions& format() const { return format_; }

  void put_rows(int64_t first, int64_t count, const std::string& module, Tensors& tensors) const {
    const auto* codes = encoded_.codes.const_data_ptr<int8_t>() + first * columns_;
    const std::span<const int8_t> cut(codes, static_cast<size_t>(count * columns_));
    if (format_.kind == GridFormatOptions::Kind::kFp8) {
      put(tensors, module + kWeight, DType::kF8E4M3, {count, columns_}, bytes_of(cut));
    } else {
      const std::vector<int32_t> words = packed(cut, count, columns_, format_.bits);
      put(tensors, module + ".weight_packed", DType::kI32,
          {count, static_cast<int64_t>(words.size()) / count},
          bytes_of(std::span<const int32_t>(words)));
      const int64_t shape[] = {count, columns_};
      put(tensors, module + ".weight_shape", DType::kI64, {2},
          bytes_of(std::span<const int64_t>(shape)));
    }
    put_scales(first, count, module, tensors);
  }

 private:
  void put_scales(int64_t first, int64_t count, const std::string& module, Tensors& tensors) const {
    const bool whole = format_.sharing == ScaleSharing::kTensor;
    const int64_t groups = whole ? 1 : encoded_.scales.scale.numel() / rows_;
    const int64_t begin = whole ? 0 : first * groups, rows = whole ? 1 : count;
    const auto shape = whole ? std::vector<int64_t>{1} : std::vector<int64_t>{rows, groups};
    const auto* scale = encoded_.scales.scale.const_data_ptr<float>() + begin;
    put(tensors, module + ".weight_scale", DType::kF32, shape,
        bytes_of(std::span(scale, static_cast<size_t>(rows * groups))));
    if (format_.symmetric) return;
    const auto* zeros = encoded_.scales.zero_point.const_data_ptr<int32_t>() + begin;
    std::vector<int8_t> turned(rows * groups);
    if (whole) {
      turned[0] = static_cast<int8_t>(zeros[0]);
      return put(tensors, module + ".weight_zero_point", DType::kI8, shape,
                 bytes_of(std::span<const int8_t>(turned)));
    }
    // Zero points are packed along the rows.
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t group = 0; group < groups; ++group) {
        turned[group * rows + row] = static_cast<int8_t>(zeros[row * groups + group]);
      }
    }
    const std::vector<int32_t> words = packed(turned, groups, rows, format_.bits);
    const int64_t height = static_cast<int64_t>(words.size()) / groups;
    std::vector<int32_t> stored(words.size());
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t y = 0; y < height; ++y) stored[y * groups + group] = words[group * height + y];
    }
    put(tensors, module + ".weight_zero_point", DType::kI32, {height, groups},
        bytes_of(std::span<const int32_t>(stored)));
  }

  GridFormatOptions format_;
  EncodedWeight encoded_;
  int64_t rows_;
  int64_t columns_;
};

ordered_json scheme_of(const GridFormatOptions& format) {
  const bool is_fp8 = format.kind == GridFormatOptions::Kind::kFp8;
  ordered_json weights = {{"num_bits", is_fp8 ? 8 : format.bits},
                          {"type", is_fp8 ? "float" : "int"},
                          {"symmetric", format.symmetric},
                          {"dynamic", false}};
  switch (format.sharing) {
    case ScaleSharing::kTensor:
      weights["strategy"] = "tensor";
      break;
    case ScaleSharing::kChannel:
      weights["strategy"] = "channel";
      break;
    case ScaleSharing::kGroup:
      weights["strategy"] = "group";
      weights["group_size"] = format.group_size;
      break;
  }
  return {{"weights", weights}, {"input_activations", nullptr}, {"output_activations", nullptr}};
}

/// What of the model's linear layers is quantised how, as the folder's config.json says it.
struct Modules {
  struct Group {
    GridFormatOptions format;
    std::vector<std::string> targets;
  };
  std::map<std::string, Group> of_format;  ///< by the format's name
  std::vector<std::string> in_float;
};

ordered_json quantization_config(const Modules& modules) {
  ordered_json groups;
  bool fp8 = false, integers = false;
  for (const auto& [name, of_format] : modules.of_format) {
    const auto& [format, targets] = of_format;
    (format.kind == GridFormatOptions::Kind::kFp8 ? fp8 : integers) = true;
    ordered_json group = scheme_of(format);
    group["targets"] = modules.of_format.size() == 1 ? std::vector<std::string>{"Linear"} : targets;
    groups[fmt::format("group_{}", groups.size())] = group;
  }
  if (fp8 && integers) refuse("fp8 and integers don't go into one folder");
  return {{"quant_method", "compressed-tensors"},
          {"version", kVersion},
          {"format", fp8 ? "float-quantized" : "pack-quantized"},
          {"quantization_status", "compressed"},
          {"config_groups", groups},
          {"ignore", modules.in_float},
          {"kv_cache_scheme", nullptr},
          {"global_compression_ratio", nullptr}};
}

/// The tensors of one parameter; which of its modules are quantised how.
void add_part(const Part& part, int64_t first_row, const QuantizedRows* quantized, Modules& modules,
              Tensors& tensors) {
  const std::string& name = part.piece.tensor;
  const std::string module = name.substr(0, name.size() - std::strlen(kWeight));
  const bool linear = part.rows.dim() == 2 && !name.ends_with("embed_tokens.weight");
  if (quantized == nullptr) {
    put(tensors, name, DType::kF32, part.shape_in_file(), part.encoded(DType::kF32));
    if (linear) modules.in_float.push_back(module);
    return;
  }
  if (!linear) refuse(fmt::format("{} is quantised; only linear layers can be", part.parameter));
  quantized->put_rows(first_row, part.piece.rows, module, tensors);
  Modules::Group& group = modules.of_format[grid_format_name(quantized->format())];
  group.format = quantized->format();
  group.targets.push_back(module);
}

void write(const std::filesystem::path& folder, const Tensors& tensors, const std::string& config,
           const std::string& ledger) {
  AtomicFolder target(folder);
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back(tensor.first);
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (!ledger.empty()) metadata[kLedgerKey] = text_hash(ledger);
  SafetensorsWriter writer(target.aside() / "model.safetensors", std::move(specs), metadata);
  for (const TensorSpec& spec : writer.order()) writer.append(tensors.at(spec.name).second);
  writer.finish();
  AtomicFile file(target.aside() / "config.json");
  file.write(config);
  file.commit();
  target.commit();
}

}  // namespace

void save_compressed_tensors(const std::string& folder, const ModelOptions& options,
                             std::span<const NamedTensor> parameters, const Deployment& deployment,
                             const std::string& ledger) {
  if (options.family != ModelFamily::kLlama) {
    refuse(fmt::format("a model of family {}; only llama has linear layers as it knows them",
                       name_of(options.family)));
  }
  std::map<std::string, QuantizedRows> quantized;
  for (const auto& [name, weight] : deployment)
    quantized.emplace(name, QuantizedRows(name, weight));
  if (quantized.empty()) refuse("nothing is quantised");
  Modules modules;
  Tensors tensors;
  std::map<std::string, int64_t> rows;
  for (const Part& part : parts_of(options, Naming::kHuggingFace, parameters)) {
    const auto found = quantized.find(part.parameter);
    const bool is_quantized = found != quantized.end();
    add_part(part, rows[part.parameter], is_quantized ? &found->second : nullptr, modules, tensors);
    rows[part.parameter] += part.piece.rows;
  }
  if (options.tied_embeddings) modules.in_float.emplace_back("lm_head");
  ordered_json config = ordered_json::parse(config_json_of(options, "float32"));
  config["quantization_config"] = quantization_config(modules);
  write(folder, tensors, config.dump(2) + "\n", ledger);
}

}  // namespace wattle
