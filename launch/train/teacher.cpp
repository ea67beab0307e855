#include "launch/train/teacher.h"

#include <fmt/format.h>

#include <filesystem>

#include "common/error.h"
#include "launch/train/resume/same_run.h"
#include "trainer/checkpoint/checkpoint_reader.h"

namespace wattle {
namespace {

/// The GGUF key of a tokenizer's vocabulary, in its order.
constexpr const char* kTokensKey = "tokenizer.ggml.tokens";

/// The configuration of a run that starts from the teacher.
RunConfig config_of(const RunConfig& config, const std::string& path) {
  RunConfig teacher = config;
  teacher.model = ModelOptions();
  teacher.model.init_from = path;
  return teacher;
}

void check_outputs(const ModelOptions& teacher, const ModelOptions& student,
                   const std::string& key) {
  const auto same = [&](const char* what, int64_t theirs, int64_t ours) {
    if (theirs == ours) return;
    throw Error(ErrorCode::kConfig, fmt::format("{}: has {} {}, the model {}; expected the same",
                                                key, theirs, what, ours));
  };
  if (teacher.is_language_model() != student.is_language_model()) {
    throw Error(ErrorCode::kConfig, fmt::format("{}: is a {}, the model a {}", key,
                                                name_of(teacher.family), name_of(student.family)));
  }
  if (student.is_language_model()) {
    same("tokens in its vocabulary", teacher.vocab, student.vocab);
  } else {
    same("outputs", teacher.resolved_outputs(), student.resolved_outputs());
  }
}

void check_there(const std::string& path, const std::string& key) {
  if (std::error_code ignored; std::filesystem::exists(path, ignored)) return;
  throw Error(ErrorCode::kConfig, fmt::format("{}: no such file or folder: '{}'", key, path));
}

/// `config` starts from the float run.
void check_float_run(const RunConfig& config, const ModelOptions& model, const std::string& key) {
  const RunIdentity here = shape_identity(model), there = shape_identity(shape_of_model(config));
  for (const auto& [name, value] : here) {
    const auto other = there.find(name);
    if (name == "model.dropout" || (other != there.end() && other->second == value)) continue;
    throw Error(ErrorCode::kConfig,
                fmt::format("{}: {} is {} there, but {} here; expected the same model", key, name,
                            other == there.end() ? "absent" : other->second, value));
  }
  const std::string& path = *config.model.init_from;
  if (!is_checkpoint(path)) return;
  const CheckpointReader reader(resolve_checkpoint(path));
  for (const auto& [name, unused] : reader.meta().sections) {
    if (!name.starts_with("compression.") || !name.ends_with(".quantize")) continue;
    throw Error(
        ErrorCode::kConfig,
        fmt::format("{}: {} was itself trained with {}; expected a float run", key, path, name));
  }
}

}  // namespace

Model load_teacher(const RunConfig& config, const std::string& path, const std::string& key,
                   const ModelOptions& student, const GgufMetadata& tokenizer) {
  check_there(path, key);
  const RunConfig from = config_of(config, path);
  check_outputs(shape_of_model(from), student, key);
  ShapedModel teacher = make_model(from);
  const GgufValue* ours = tokenizer.find(kTokensKey);
  const GgufValue* theirs = teacher.tokenizer.find(kTokensKey);
  if (ours != nullptr && theirs != nullptr && *ours != *theirs) {
    throw Error(ErrorCode::kConfig,
                fmt::format("{}: has as many tokens as the model, but other ones", key));
  }
  return std::move(teacher.model);
}

Model load_float_run(const RunConfig& config, const std::string& path) {
  return make_model(config_of(config, path)).model;
}

void check_named_models(const RunConfig& config, const ModelOptions& model) {
  for (size_t i = 0; i < config.compression.size(); ++i) {
    const CompressionEntry& entry = config.compression[i];
    if (entry.distil && entry.distil->teacher) {
      const std::string key = distil_name(i) + ".teacher";
      check_there(*entry.distil->teacher, key);
      check_outputs(shape_of_model(config_of(config, *entry.distil->teacher)), model, key);
    }
    if (entry.quantize && entry.quantize->float_run) {
      const std::string key = quantize_name(i) + ".float_run";
      check_there(*entry.quantize->float_run, key);
      check_float_run(config_of(config, *entry.quantize->float_run), model, key);
    }
  }
}

}  // namespace wattle
