#include "compression/make_callbacks.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "common/error.h"
#include "compression/quantize/quantize_callback.h"

namespace wattle {
namespace {

/// Steps during which an entry quantises.
struct Phase {
  std::string entry;
  int64_t begin = 0;
  int64_t end = 0;
};

}  // namespace

void check_compression_targets(const std::vector<CompressionEntry>& entries, const Model& model) {
  std::map<std::string, std::vector<Phase>> phases;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].quantize) continue;
    const QuantizeOptions& options = *entries[i].quantize;
    const Phase phase{quantize_name(i), options.begin_step,
                      options.end_step.value_or(std::numeric_limits<int64_t>::max())};
    for (const WeightTarget& target : weight_targets(options, model, phase.entry)) {
      for (const Phase& other : phases[target.parameter]) {
        if (phase.begin >= other.end || other.begin >= phase.end) continue;
        throw Error(
            ErrorCode::kConfig,
            fmt::format("{}: {} is quantised by {} at the same time, from step {} on", phase.entry,
                        target.parameter, other.entry, std::max(phase.begin, other.begin)));
      }
      phases[target.parameter].push_back(phase);
    }
  }
}

std::vector<std::unique_ptr<Callback>> make_compression_callbacks(
    const std::vector<CompressionEntry>& entries, const Model& model, FlatParameters& parameters) {
  check_compression_targets(entries, model);
  std::vector<std::unique_ptr<Callback>> callbacks;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].quantize) continue;
    callbacks.push_back(std::make_unique<QuantizeCallback>(quantize_name(i), *entries[i].quantize,
                                                           model, parameters));
  }
  return callbacks;
}

}  // namespace wattle
