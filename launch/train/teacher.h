#pragma once

#include <string>

#include "launch/train/run_session.h"

namespace wattle {

/// The float model of `path` (as model.init_from), to learn from. Throws Error(kConfig) naming
/// `key` if it takes other inputs or tells other classes apart than the student: another
/// vocabulary, or the same number of other tokens.
Model load_teacher(const RunConfig& config, const std::string& path, const std::string& key,
                   const ModelOptions& student, const GgufMetadata& tokenizer);

/// The same errors as far as the teacher's header tells, for all entries: for `plan`.
void check_teachers(const RunConfig& config, const ModelOptions& student);

}  // namespace wattle
