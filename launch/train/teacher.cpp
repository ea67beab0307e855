#include "launch/train/teacher.h"

#include <fmt/format.h>

#include "common/error.h"

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

}  // namespace

Model load_teacher(const RunConfig& config, const std::string& path, const std::string& key,
                   const ModelOptions& student, const GgufMetadata& tokenizer) {
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

void check_teachers(const RunConfig& config, const ModelOptions& student) {
  for (size_t i = 0; i < config.compression.size(); ++i) {
    const auto& distil = config.compression[i].distil;
    if (!distil) continue;
    check_outputs(shape_of_model(config_of(config, distil->teacher)), student,
                  distil_name(i) + ".teacher");
  }
}

}  // namespace wattle
