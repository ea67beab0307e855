#include "compression/make_callbacks.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "common/error.h"
#include "compression/activations/activation_callback.h"
#include "compression/quantize/quantize_callback.h"

namespace wattle {
namespace {

/// Steps during which an entry quantises.
struct Phase {
  std::string entry;
  int64_t begin = 0;
  int64_t end = 0;
};

/// The phases that were seen so far, by what they quantise.
using Phases = std::map<std::string, std::vector<Phase>>;

void enter(Phases& phases, const std::string& what, const Phase& phase) {
  for (const Phase& other : phases[what]) {
    if (phase.begin >= other.end || other.begin >= phase.end) continue;
    throw Error(ErrorCode::kConfig,
                fmt::format("{}: {} is quantised by {} at the same time, from step {} on",
                            phase.entry, what, other.entry, std::max(phase.begin, other.begin)));
  }
  phases[what].push_back(phase);
}

}  // namespace

void check_compression_targets(const std::vector<CompressionEntry>& entries, const Model& model) {
  Phases weights, activations;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].quantize) continue;
    const QuantizeOptions& options = *entries[i].quantize;
    const Phase phase{quantize_name(i), options.begin_step,
                      options.end_step.value_or(std::numeric_limits<int64_t>::max())};
    for (const WeightTarget& target : weight_targets(options, model, phase.entry)) {
      enter(weights, target.parameter, phase);
    }
    if (options.freeze_batch_norm_step && model.buffers.empty()) {
      throw Error(ErrorCode::kConfig,
                  phase.entry + ".freeze_batch_norm_step: this model has no batch norm");
    }
    if (!options.activations) continue;
    for (const std::string& point : activation_targets(*options.activations, model, phase.entry)) {
      enter(activations, point, phase);
    }
  }
}

std::vector<std::unique_ptr<Callback>> make_compression_callbacks(
    const std::vector<CompressionEntry>& entries, Model& model, FlatParameters& parameters,
    const CompressionTools& tools) {
  check_compression_targets(entries, model);
  std::vector<std::unique_ptr<Callback>> callbacks;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].quantize) continue;
    const QuantizeOptions& options = *entries[i].quantize;
    auto weights = std::make_unique<QuantizeCallback>(quantize_name(i), options, model, parameters);
    const WeightQuantizer& quantizer = weights->quantizer();
    callbacks.push_back(std::move(weights));
    if (!options.activations) continue;
    if (tools.ranks == nullptr) {
      throw Error(ErrorCode::kInternal, "activations need the ranks that share their ranges");
    }
    callbacks.push_back(std::make_unique<ActivationCallback>(
        quantize_name(i), activations_name(i), options,
        ActivationCallback::Parts{model, parameters, quantizer, *tools.ranks}));
  }
  return callbacks;
}

}  // namespace wattle
