#include "launch/train/config/exports_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "common/error.h"
#include "compression/export/export_refusals.h"

namespace wattle {
namespace {

using Format = ExportOptions::Format;

std::string key_of(size_t index) { return fmt::format("export.{}.format", index); }

const char* name_of(Format format) {
  return format == Format::kGguf                ? "gguf"
         : format == Format::kOnnx              ? "onnx"
         : format == Format::kCompressedTensors ? "compressed-tensors"
                                                : "safetensors";
}

std::string family_refusal(Format format, ModelFamily family) {
  const bool has_tokens = family == ModelFamily::kGpt2 || family == ModelFamily::kLlama;
  if ((format == Format::kOnnx) == has_tokens) {
    return fmt::format(
        "a model of family {} can't be written so: onnx is for mlp, resnet and vgg, "
        "the others are for gpt2 and llama",
        name_of(family));
  }
  if (format != Format::kCompressedTensors || family == ModelFamily::kLlama) return "";
  return fmt::format("a model of family {} can't be written so: compressed-tensors is for llama",
                     name_of(family));
}

/// "" or why the file can't hold weights that were trained for a format.
std::string format_refusal(const ExportOptions& wanted, const WeightFormat& format) {
  switch (wanted.format) {
    case Format::kGguf:
      return wanted.type == ExportOptions::Type::kAuto ? gguf_refusal(format) : "";
    case Format::kCompressedTensors:
      return compressed_tensors_refusal(format);
    case Format::kOnnx:
      return onnx_refusal(format);
    case Format::kSafetensors:
      return "";
  }
  throw Error(ErrorCode::kInternal, "export: unknown format");
}

bool begins(const RunConfig& config, const QuantizeOptions& options) {
  return !config.train.steps || options.begin_step <= *config.train.steps;
}

/// Whether training may stop early at a step after which the entry is still active.
bool may_stop_during(const TrainOptions& train, const QuantizeOptions& options) {
  if (!train.early_stop || train.eval_every.value_or(0) < 1) return false;
  const int64_t every = *train.eval_every;
  const int64_t evaluations =
      std::max(train.early_stop->patience, options.begin_step / every + 1);  // the fewest
  return !options.end_step || evaluations <= *options.end_step / every;
}

/// Two files at one place would leave the last one alone.
void check_places(const RunConfig& config, Checker& c) {
  std::map<std::filesystem::path, size_t> taken;
  for (size_t i = 0; i < config.exports.size(); ++i) {
    const std::filesystem::path place =
        std::filesystem::absolute(config.exports[i].place_below(config.run.output_dir));
    const auto [other, is_free] = taken.emplace(place, i);
    c.require(is_free, fmt::format("export.{}.path", i),
              fmt::format("{} is written by export.{} already; give each its own path",
                          place.string(), other->second));
  }
}

/// Those that its weights may get.
std::vector<std::string> formats_of(const QuantizeOptions& options) {
  if (options.widths) return options.widths->formats;
  return {format_name(options)};
}

void check_pair(const RunConfig& config, size_t file, size_t entry, Checker& c) {
  const ExportOptions& wanted = config.exports[file];
  const QuantizeOptions& options = *config.compression[entry].quantize;
  for (const std::string& format : formats_of(options)) {
    const std::string refusal = format_refusal(wanted, *make_weight_format(format));
    c.require(refusal.empty(), key_of(file),
              fmt::format("{} can't hold {}, for which {} trains; {}", name_of(wanted.format),
                          format, quantize_name(entry), refusal));
  }
  if (wanted.format == Format::kCompressedTensors && !options.symmetric &&
      options.resolved_scales() != ScaleSharing::kTensor) {
    c.warn(quantize_name(entry) + ".symmetric",
           "false: transformers 5.23 can't load the zero points of channels and groups, the "
           "compressed-tensors library can");
  }
  const bool has_embedding =
      options.targets.empty() && options.resolved_embeddings() != EmbeddingFormat::kFloat;
  c.require(wanted.format != Format::kCompressedTensors || options.is_gguf() || !has_embedding,
            quantize_name(entry) + ".embeddings",
            fmt::format("quantises the embedding, which {} can't hold; expected float",
                        name_of(wanted.format)));
}

/// Whether two entries may round when training ends: of two that share weights one at most does.
bool may_meet(const QuantizeOptions& one, const QuantizeOptions& other) {
  const bool apart = (one.end_step && *one.end_step <= other.begin_step) ||
                     (other.end_step && *other.end_step <= one.begin_step);
  const bool surely_share =
      one.targets.empty() || other.targets.empty() || one.targets == other.targets;
  return !apart || !surely_share;
}

/// Of those that an entry may choose, the last that is fp8, or is not; "" if none is so.
std::string last_format(const QuantizeOptions& options, bool is_fp8) {
  std::string last;
  for (const std::string& format : formats_of(options)) {
    if (format.starts_with("fp8") == is_fp8) last = format;
  }
  return last;
}

/// One folder has one way of packing.
void check_one_packing(const RunConfig& config, size_t file, Checker& c) {
  if (config.exports[file].format != Format::kCompressedTensors) return;
  std::vector<const QuantizeOptions*> deployed;
  for (const CompressionEntry& entry : config.compression) {
    if (entry.quantize && may_deploy(config, *entry.quantize)) deployed.push_back(&*entry.quantize);
  }
  std::string fp8, integers;
  for (const QuantizeOptions* one : deployed) {
    for (const QuantizeOptions* other : deployed) {
      if (one != other && !may_meet(*one, *other)) continue;
      const std::string packed = last_format(*one, true), beside = last_format(*other, false);
      if (packed.empty() || beside.empty()) continue;
      fp8 = packed;
      integers = beside;
    }
  }
  c.require(fp8.empty(), key_of(file),
            fmt::format("a compressed-tensors folder can't hold both {} and {}", fp8, integers));
}

/// Keeps what is wrong to throw it, where the file's lines are no longer known.
class LateChecker : public Checker {
 public:
  void require(bool holds, const std::string& key, const std::string& message) override {
    if (!holds) errors_.push_back(fmt::format("{}: {}", key, message));
  }
  void warn(const std::string&, const std::string&) override {}
  bool given(const std::string&) const override { return true; }
  void throw_if_errors() const {
    if (errors_.empty()) return;
    throw Error(ErrorCode::kConfig, fmt::format("{}", fmt::join(errors_, "\n")));
  }

 private:
  std::vector<std::string> errors_;
};

}  // namespace

bool may_deploy(const RunConfig& config, const QuantizeOptions& options) {
  if (!begins(config, options)) return false;
  if (may_stop_during(config.train, options)) return true;
  return !options.end_step || (config.train.steps && *options.end_step >= *config.train.steps);
}

void check_exports(const RunConfig& config, Checker& c) {
  check_places(config, c);
  for (size_t i = 0; i < config.exports.size(); ++i) {
    if (config.model.family != ModelFamily::kFromFile) {
      const std::string refusal = family_refusal(config.exports[i].format, config.model.family);
      c.require(refusal.empty(), key_of(i), refusal);
      if (!refusal.empty()) continue;
    }
    check_one_packing(config, i, c);
    for (size_t entry = 0; entry < config.compression.size(); ++entry) {
      const auto& quantize = config.compression[entry].quantize;
      if (quantize && may_deploy(config, *quantize)) check_pair(config, i, entry, c);
    }
  }
}

void check_exports_with_steps(const RunConfig& config) {
  LateChecker checker;
  check_exports(config, checker);
  checker.throw_if_errors();
}

void check_exports_of_family(const RunConfig& config, ModelFamily family) {
  bool quantises = false;
  for (const CompressionEntry& entry : config.compression) {
    quantises |= entry.quantize && begins(config, *entry.quantize);
  }
  for (size_t i = 0; i < config.exports.size(); ++i) {
    std::string refusal = family_refusal(config.exports[i].format, family);
    if (config.exports[i].format == Format::kCompressedTensors && !quantises) {
      refusal = "compressed-tensors needs a quantize entry in compression";
    }
    if (!refusal.empty()) throw Error(ErrorCode::kConfig, key_of(i) + ": " + refusal);
  }
}

}  // namespace wattle
