#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/config/schema.h"
#include "trainer/state/precision.h"

namespace wattle {

/// The section `run:`.
struct RunOptions {
  enum class Resume { kAuto, kNever };

  std::string name;
  uint64_t seed = 1;
  std::string output_dir;
  Resume resume = Resume::kAuto;
  bool deterministic = false;
  int64_t threads = 0;
  void describe(Fields& f);
};

/// When training ends before its last step.
struct EarlyStopOptions {
  int64_t patience = 3;
  double min_improvement = 0.0;
  void describe(Fields& f);
};

/// The section `train:`.
struct TrainOptions {
  enum class NonFinite { kError, kSkip };

  std::optional<int64_t> steps;
  std::optional<int64_t> epochs;
  int64_t global_batch = 8;
  std::optional<int64_t> micro_batch;
  Precision precision = Precision::kFp32;
  std::optional<double> grad_clip;
  std::optional<int64_t> eval_every;
  std::optional<EarlyStopOptions> early_stop;
  NonFinite on_non_finite = NonFinite::kError;
  int64_t max_skipped_steps = 10;
  int64_t efficiency_steps = 0;
  int64_t trace_every = 20;
  void describe(Fields& f);
};

/// A sample of generated text at the end of training, for models of text.
struct TextSampleOptions {
  std::string prompt;
  int64_t tokens = 200;
  double temperature = 0.8;
  void describe(Fields& f);
};

}  // namespace wattle
