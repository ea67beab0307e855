#include "launch/train/exports.h"

#include <fmt/format.h>

#include <filesystem>
#include <iostream>

#include "common/atomic_file.h"
#include "common/error.h"
#include "compression/export/compressed_tensors.h"
#include "compression/export/onnx_export.h"
#include "compression/quantize/weight_targets.h"
#include "trainer/models/weights/model_file.h"

namespace wattle {
namespace {

using Type = ExportOptions::Type;

/// The key under which a GGUF file carries the hash of the compression ledger.
constexpr const char* kLedgerKey = "wattle.compression_ledger.xxh3_128";

/// Rounding after training, where it was asked for.
std::optional<QuantizeOptions> rounding_of(const ExportOptions& wanted) {
  QuantizeOptions options;
  options.embeddings = wanted.embeddings;
  switch (wanted.type) {
    case Type::kQ8_0:
      options.target = WeightTargetType::kGgufQ8_0;
      return options;
    case Type::kQ6K:
      options.target = WeightTargetType::kGgufQ6K;
      return options;
    case Type::kQ4_0:
      options.target = WeightTargetType::kGgufQ4_0;
      return options;
    case Type::kQ4_1:
      options.target = WeightTargetType::kGgufQ4_1;
      return options;
    default:
      return std::nullopt;
  }
}

DType float_type_of(Type type) {
  if (type == Type::kF16) return DType::kF16;
  return type == Type::kBf16 ? DType::kBF16 : DType::kF32;
}

DType block_type_of(const WeightFormat& format, const std::string& parameter) {
  const std::optional<DType> type = format.block_type();
  if (type) return *type;
  throw Error(ErrorCode::kUnsupported,
              fmt::format("export to gguf: {} was trained for {}, which a GGUF file can't hold; "
                          "type f32 writes its rounded values",
                          parameter, format.name()));
}

/// As forward reads them; or before rounding where they are quantised, so that their blocks are
/// made once, from what they were made from for forward.
std::vector<NamedTensor> parameters_of(const ExportedModel& exported, bool before_rounding) {
  std::vector<NamedTensor> parameters = exported.parameters;
  if (!before_rounding) return parameters;
  for (NamedTensor& parameter : parameters) {
    const auto found = exported.deployment.find(parameter.name);
    if (found != exported.deployment.end()) parameter.value = found->second.values;
  }
  return parameters;
}

void write_gguf(const std::string& path, const ExportOptions& wanted,
                const ExportedModel& exported) {
  GgufContents contents{.types = {},
                        .dtype = float_type_of(wanted.type),
                        .tokenizer = exported.tokenizer,
                        .more = {}};
  if (!exported.compression_ledger.empty()) {
    contents.more.add(kLedgerKey, text_hash(exported.compression_ledger));
  }
  std::vector<NamedTensor> parameters = parameters_of(exported, wanted.masters);
  if (const auto rounding = rounding_of(wanted)) {
    for (const WeightTarget& target : weight_targets(*rounding, exported.model, "export")) {
      contents.types[target.parameter] = block_type_of(*target.format, target.parameter);
    }
  } else if (wanted.type == Type::kAuto) {
    parameters = parameters_of(exported, true);
    for (const auto& [name, weight] : exported.deployment) {
      contents.types[name] = block_type_of(*weight.format, name);
    }
  }
  save_gguf(path, exported.options, parameters, contents);
}

void write_ledger(const std::filesystem::path& folder, const std::string& ledger) {
  if (ledger.empty()) return;
  std::filesystem::create_directories(folder);
  AtomicFile file(folder / "compression_ledger.json");
  file.write(ledger);
  file.commit();
}

}  // namespace

void write_exports(const RunConfig& config, const ExportedModel& exported) {
  const std::filesystem::path folder = std::filesystem::path(config.run.output_dir) / "export";
  for (const ExportOptions& wanted : config.exports) {
    const std::string path = folder / wanted.resolved_path();
    if (wanted.format == ExportOptions::Format::kGguf) {
      write_gguf(path, wanted, exported);
    } else if (wanted.format == ExportOptions::Format::kCompressedTensors) {
      save_compressed_tensors(path, exported.options, exported.parameters, exported.deployment);
    } else if (wanted.format == ExportOptions::Format::kOnnx) {
      save_onnx(path, exported.model, exported.parameters, exported.deployment,
                exported.compression_ledger);
    } else {
      save_hugging_face(path, exported.options, parameters_of(exported, wanted.masters),
                        DType::kF32);
    }
    std::cerr << "exported: " << path << std::endl;
  }
  if (!config.exports.empty()) write_ledger(folder, exported.compression_ledger);
}

}  // namespace wattle
