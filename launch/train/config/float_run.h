#pragma once

#include <string>
#include <vector>

#include "common/config/config_file.h"

namespace wattle {

struct RunConfig;

/// `float_run:` of a run's file: the same file without its compression and exports is trained
/// first, and is what the entries of `compression` learn from and are compared with where they
/// name nothing else.
struct FloatRunOptions {
  std::vector<std::string> set;

  void describe(Fields& f);
};

/// The run that comes first, in the folder "float" of the run's. Throws Error(kConfig) with all
/// that is wrong with float_run.set, a line each: also another folder, compression, ranks. `inputs`
/// has what the run's file names: what `set` names is added, what this run makes is taken out.
RunConfig config_of_float_run(const RunConfig& config, std::vector<NamedInput>* inputs = nullptr);

/// The run itself, with that folder as quantize.float_run and distil.teacher where they are absent.
RunConfig after_float_run(RunConfig config);

}  // namespace wattle
