#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/config/schema.h"

namespace wattle {

/// `distil:` of an entry of `compression`: the model also learns from a float model's outputs.
struct DistilOptions {
  std::optional<std::string> teacher;  ///< absent: the run's own float run
  double temperature = 2.0;
  double weight = 0.5;
  int64_t begin_step = 0;
  std::optional<int64_t> end_step = {};

  void describe(Fields& f);

  /// Whether step `step` (from 0) learns from the teacher.
  bool active_at(int64_t step) const {
    return step >= begin_step && (!end_step || step < *end_step);
  }
};

/// "compression.0.distil": the key of its section in a checkpoint and its place in the file.
std::string distil_name(size_t index);

}  // namespace wattle
