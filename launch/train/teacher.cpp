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

void check_learns(const ModelOptions& model, const std::string& key, const char* who) {
  if (!predicts_values(model)) return;
  throw Error(
      ErrorCode::kConfig,
      fmt::format("{}: the {} predicts values; distillation needs tokens or classes", key, who));
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
  check_learns(teacher, key, "teacher");
}

void check_tokens(const GgufMetadata& teacher, const GgufMetadata& student,
                  const std::string& key) {
  const GgufValue* ours = student.find(kTokensKey);
  const GgufValue* theirs = teacher.find(kTokensKey);
  if (ours == nullptr || theirs == nullptr || *ours == *theirs) return;
  throw Error(ErrorCode::kConfig,
              fmt::format("{}: has as many tokens as the model, but other ones", key));
}

void check_there(const std::string& path, const std::string& key) {
  if (std::error_code ignored; std::filesystem::exists(path, ignored)) return;
  throw Error(ErrorCode::kConfig, fmt::format("{}: no such file or folder: '{}'", key, path));
}

void check_same_shape(const ModelOptions& first, const ModelOptions& model,
                      const std::string& key) {
  const RunIdentity here = shape_identity(model), there = shape_identity(first);
  for (const auto& [name, value] : here) {
    const auto other = there.find(name);
    if (name == "model.dropout" || (other != there.end() && other->second == value)) continue;
    throw Error(ErrorCode::kConfig,
                fmt::format("{}: {} is {} there, but {} here; expected the same model", key, name,
                            other == there.end() ? "absent" : other->second, value));
  }
}

/// `config` starts from the float run.
void check_float_run(const RunConfig& config, const ModelOptions& model, const std::string& key) {
  check_same_shape(shape_of_model(config), model, key);
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

/// Of the one that `float_run:` trains, before it is there.
void check_first_run(const RunConfig& config, const ModelOptions& model) {
  const RunConfig first = config_of_float_run(config), after = after_float_run(config);
  const ModelOptions shape = shape_of_model(first);
  for (size_t i = 0; i < config.compression.size(); ++i) {
    const CompressionEntry &given = config.compression[i], &named = after.compression[i];
    if (given.distil && given.distil->teacher != named.distil->teacher) {
      check_outputs(shape, model, "float_run");
      check_tokens(tokenizer_of_model(first), tokenizer_of_model(config), "float_run");
    }
    if (given.quantize && given.quantize->float_run != named.quantize->float_run) {
      check_same_shape(shape, model, "float_run");
    }
  }
}

}  // namespace

Model load_teacher(const RunConfig& config, const std::string& path, const std::string& key,
                   const ModelOptions& student, const GgufMetadata& tokenizer) {
  check_there(path, key);
  const RunConfig from = config_of(config, path);
  check_outputs(shape_of_model(from), student, key);
  ShapedModel teacher = make_model(from);
  check_tokens(teacher.tokenizer, tokenizer, key);
  return std::move(teacher.model);
}

Model load_float_run(const RunConfig& config, const std::string& path) {
  return make_model(config_of(config, path)).model;
}

void check_named_models(const RunConfig& config, const ModelOptions& model) {
  for (size_t i = 0; i < config.compression.size(); ++i) {
    const CompressionEntry& entry = config.compression[i];
    if (entry.distil) check_learns(model, distil_name(i), "model");
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
  if (config.float_run) check_first_run(config, model);
}

}  // namespace wattle
