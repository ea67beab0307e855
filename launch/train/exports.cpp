#include "launch/train/exports.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>

#include "common/atomic_file.h"
#include "common/error.h"
#include "compression/export/compressed_tensors.h"
#include "compression/export/onnx_export.h"
#include "compression/quantize/weight_targets.h"
#include "launch/train/config/exports_fit.h"
#include "trainer/models/weights/model_file.h"

namespace wattle {
namespace {

using Type = ExportOptions::Type;

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
    case Type::kTq2_0:
      options.target = WeightTargetType::kGgufTq2_0;
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

std::string ledger_path(const std::string& output_dir) {
  return std::filesystem::path(output_dir) / "export" / "compression_ledger.json";
}

void make_folder_of(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (!error) return;
  throw Error(ErrorCode::kIo,
              fmt::format("{}: its folder can't be made: {}", path, error.message()));
}

void write_ledger(const std::string& path, const std::string& ledger) {
  if (ledger.empty()) return;
  make_folder_of(path);
  AtomicFile file(path);
  file.write(ledger);
  file.commit();
}

bool is_folder(ExportOptions::Format format) {
  return format == ExportOptions::Format::kSafetensors ||
         format == ExportOptions::Format::kCompressedTensors;
}

/// Whether it can be written, without a trace.
void try_export(const std::string& path, bool is_folder) {
  if (is_folder) {
    const AtomicFolder removed(path);
    return;
  }
  if (std::filesystem::is_directory(path)) {
    throw Error(ErrorCode::kIo, path + ": expected a file, it is a folder");
  }
  const AtomicFile removed(path);
}

void write_one(const std::string& path, const ExportOptions& wanted,
               const ExportedModel& exported) {
  const std::string& ledger = exported.compression_ledger;
  std::map<std::string, std::string> metadata = exported.inputs;
  if (!ledger.empty()) metadata[kLedgerKey] = text_hash(ledger);
  switch (wanted.format) {
    case ExportOptions::Format::kGguf:
      return write_gguf(path, wanted, exported);
    case ExportOptions::Format::kCompressedTensors:
      return save_compressed_tensors(path, exported.options, exported.parameters,
                                     exported.deployment, ledger);
    case ExportOptions::Format::kOnnx:
      return save_onnx(path, exported.model, exported.parameters, exported.deployment, metadata);
    case ExportOptions::Format::kSafetensors:
      return save_hugging_face(path, exported.options, parameters_of(exported, wanted.masters),
                               DType::kF32, metadata);
  }
}

/// Of entries that may be active at the end, as far as the file tells.
void check_linear_layers_alone(const RunConfig& config, const Model& model) {
  for (size_t i = 0; i < config.compression.size(); ++i) {
    const auto& quantize = config.compression[i].quantize;
    if (!quantize || !may_deploy(config, *quantize)) continue;
    for (const WeightTarget& target : weight_targets(*quantize, model, quantize_name(i))) {
      const auto weight = std::ranges::find(model.parameters, target.parameter, &Parameter::name);
      if ((*weight)->kind() != LayerKind::kEmbedding) continue;
      throw Error(
          ErrorCode::kConfig,
          fmt::format("{}.targets: chooses the embedding {}, which compressed-tensors can't "
                      "hold; expected embeddings: float",
                      quantize_name(i), target.parameter));
    }
  }
}

}  // namespace

void check_export_rows(const RunConfig& config, const Model& model) {
  for (size_t i = 0; i < config.exports.size(); ++i) {
    if (config.exports[i].format == ExportOptions::Format::kCompressedTensors) {
      check_linear_layers_alone(config, model);
    }
    if (config.exports[i].format != ExportOptions::Format::kGguf) continue;
    const auto rounding = rounding_of(config.exports[i]);
    if (rounding) weight_targets(*rounding, model, fmt::format("export.{}.type", i));
  }
}

void check_export_places(const RunConfig& config) {
  const auto each = [&config](const auto& try_it) {
    for (size_t i = 0; i < config.exports.size(); ++i) {
      const ExportOptions& wanted = config.exports[i];
      try {
        try_it(wanted.place_below(config.run.output_dir), is_folder(wanted.format));
      } catch (const Error& error) {
        throw Error(error.code(), fmt::format("export.{}.path: {}", i, error.what()));
      }
    }
  };
  each([](const std::string& path, bool) { make_folder_of(path); });
  each(try_export);
  if (config.exports.empty() || config.compression.empty()) return;
  make_folder_of(ledger_path(config.run.output_dir));
  try_export(ledger_path(config.run.output_dir), false);
}

ExportedFiles write_exports(const RunConfig& config, const ExportedModel& exported) {
  ExportedFiles files;
  const auto keep_going = [&files](const std::string& path, const std::function<void()>& write) {
    try {
      write();
      return true;
    } catch (const std::exception& error) {
      std::cerr << "not exported: " << path << ": " << error.what() << std::endl;
      if (!files.failure) files.why = error.what();
      if (!files.failure) files.failure = std::current_exception();
      return false;
    }
  };
  for (const ExportOptions& wanted : config.exports) {
    const std::string path = wanted.place_below(config.run.output_dir);
    if (!keep_going(path, [&] { write_one(path, wanted, exported); })) continue;
    files.paths.push_back(path);
    std::cerr << "exported: " << path << std::endl;
  }
  if (!config.exports.empty()) {
    const std::string path = ledger_path(config.run.output_dir);
    keep_going(path, [&] { write_ledger(path, exported.compression_ledger); });
  }
  return files;
}

}  // namespace wattle
