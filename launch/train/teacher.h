#pragma once

#include <string>

#include "launch/train/run_session.h"

namespace wattle {

/// The float model of `path` (as model.init_from), to learn from. Throws Error(kConfig) naming
/// `key` if it takes other inputs or tells other classes apart than the student: another
/// vocabulary, or the same number of other tokens.
Model load_teacher(const RunConfig& config, const std::string& path, const std::string& key,
                   const ModelOptions& student, const GgufMetadata& tokenizer);

/// The float run `path` (as model.init_from) that the report compares with.
Model load_float_run(const RunConfig& config, const std::string& path);

/// What the models that `compression` names (teachers, float runs) tell in their headers, and what
/// the file tells of the one that `float_run:` is to train, before training and for `plan`:
/// Error(kConfig) naming the key for one that isn't there, a teacher that tells other classes apart
/// than `model`, a float run of another shape or that was quantised, and for distillation of a
/// model that predicts values.
void check_named_models(const RunConfig& config, const ModelOptions& model);

}  // namespace wattle
