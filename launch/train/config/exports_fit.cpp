#include "launch/train/config/exports_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "common/error.h"
#include "compression/export/export_refusals.h"
#include "compression/quantize/weight_targets.h"
#include "compression/widths/assign_widths.h"

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

/// A format that weights of an entry may get.
struct PossibleFormat {
  std::string name;
  std::string weight = {};  ///< the one that takes none of `widths.formats`; "": any of the entry
};

using EntryFormats = std::vector<PossibleFormat>;

/// By entry of `compression`, as the file tells them.
std::vector<EntryFormats> formats_of(const RunConfig& config) {
  std::vector<EntryFormats> formats(config.compression.size());
  for (size_t i = 0; i < formats.size(); ++i) {
    const auto& options = config.compression[i].quantize;
    if (options && options->widths) {
      for (const std::string& name : options->widths->formats) formats[i].push_back({name});
    } else if (options) {
      formats[i].push_back({format_name(*options)});
    }
  }
  return formats;
}

/// Adds what weights get that no format of `widths` holds.
void add_others(const QuantizeOptions& options, const Model& model, const std::string& key,
                EntryFormats& formats) {
  for (const WeightTarget& target : weight_targets(options, model, key)) {
    const auto weight = std::ranges::find(model.parameters, target.parameter, &Parameter::name);
    for (const auto& format : width_formats(target, (*weight)->value().sizes(), options)) {
      const bool known =
          std::ranges::find(formats, format->name(), &PossibleFormat::name) != formats.end();
      if (!known) formats.push_back({format->name(), target.parameter});
    }
  }
}

void check_pair(const RunConfig& config, size_t file, size_t entry, const EntryFormats& formats,
                Checker& c) {
  const ExportOptions& wanted = config.exports[file];
  const QuantizeOptions& options = *config.compression[entry].quantize;
  for (const PossibleFormat& format : formats) {
    const std::string refusal = format_refusal(wanted, *make_weight_format(format.name));
    const std::string weight =
        format.weight.empty() ? ""
                              : fmt::format(" {}, which no format of widths fits", format.weight);
    c.require(refusal.empty(), key_of(file),
              fmt::format("{} can't hold {}, for which {} trains{}; {}", name_of(wanted.format),
                          format.name, quantize_name(entry), weight, refusal));
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
std::string last_format(const EntryFormats& formats, bool is_fp8) {
  std::string last;
  for (const PossibleFormat& format : formats) {
    if (format.name.starts_with("fp8") == is_fp8) last = format.name;
  }
  return last;
}

/// One folder has one way of packing.
void check_one_packing(const RunConfig& config, size_t file,
                       const std::vector<EntryFormats>& formats, Checker& c) {
  if (config.exports[file].format != Format::kCompressedTensors) return;
  std::vector<size_t> deployed;
  for (size_t i = 0; i < formats.size(); ++i) {
    const auto& quantize = config.compression[i].quantize;
    if (quantize && may_deploy(config, *quantize)) deployed.push_back(i);
  }
  std::string fp8, integers;
  for (const size_t one : deployed) {
    for (const size_t other : deployed) {
      const bool meet = one == other || may_meet(*config.compression[one].quantize,
                                                 *config.compression[other].quantize);
      if (!meet) continue;
      const std::string packed = last_format(formats[one], true);
      const std::string beside = last_format(formats[other], false);
      if (packed.empty() || beside.empty()) continue;
      fp8 = packed;
      integers = beside;
    }
  }
  c.require(fp8.empty(), key_of(file),
            fmt::format("a compressed-tensors folder can't hold both {} and {}", fp8, integers));
}

void check_all(const RunConfig& config, const std::vector<EntryFormats>& formats, Checker& c) {
  for (size_t i = 0; i < config.exports.size(); ++i) {
    if (config.model.family != ModelFamily::kFromFile) {
      const std::string refusal = family_refusal(config.exports[i].format, config.model.family);
      c.require(refusal.empty(), key_of(i), refusal);
      if (!refusal.empty()) continue;
    }
    check_one_packing(config, i, formats, c);
    for (size_t entry = 0; entry < formats.size(); ++entry) {
      const auto& quantize = config.compression[entry].quantize;
      if (quantize && may_deploy(config, *quantize)) {
        check_pair(config, i, entry, formats[entry], c);
      }
    }
  }
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
  check_all(config, formats_of(config), c);
}

void check_exports_with_model(const RunConfig& config, const Model& model) {
  std::vector<EntryFormats> formats = formats_of(config);
  for (size_t i = 0; i < formats.size(); ++i) {
    const auto& quantize = config.compression[i].quantize;
    const bool chooses = quantize && quantize->widths && may_deploy(config, *quantize);
    if (chooses) add_others(*quantize, model, quantize_name(i), formats[i]);
  }
  LateChecker checker;
  check_all(config, formats, checker);
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
