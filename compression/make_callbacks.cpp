#include "compression/make_callbacks.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "common/error.h"
#include "compression/activations/activation_callback.h"
#include "compression/distil/distil_callback.h"
#include "compression/formats/values_refusal.h"
#include "compression/posttraining/posttraining.h"
#include "compression/quantize/quantize_callback.h"
#include "compression/report/baseline.h"
#include "compression/report/width_scan.h"
#include "compression/widths/assign_widths.h"

namespace wattle {
namespace {

/// Steps during which an entry quantises.
struct ActivePhase {
  std::string entry;
  int64_t begin = 0;
  int64_t end = 0;
};

/// The phases that were seen so far, by what they quantise.
using Phases = std::map<std::string, std::vector<ActivePhase>>;

void enter(Phases& phases, const std::string& what, const ActivePhase& phase) {
  for (const ActivePhase& other : phases[what]) {
    if (phase.begin >= other.end || other.begin >= phase.end) continue;
    throw Error(ErrorCode::kConfig,
                fmt::format("{}: {} is quantised by {} at the same time, from step {} on",
                            phase.entry, what, other.entry, std::max(phase.begin, other.begin)));
  }
  phases[what].push_back(phase);
}

/// What needs training samples and can be known without them.
void check_samples_fit(const QuantizeOptions& options, const std::vector<WeightTarget>& targets,
                       const Model& model, const std::string& entry) {
  const auto check = [&](bool asked, const char* key, const std::string& refusal) {
    if (asked && !refusal.empty()) {
      throw Error(ErrorCode::kConfig, fmt::format("{}.{}: {}", entry, key, refusal));
    }
  };
  for (const WeightTarget& target : targets) {
    if (!target.shard) continue;
    const std::string refusal =
        fmt::format("{} lies on {} ranks; only whole weights are looked at so", target.parameter,
                    target.shard->ranks->size());
    check(options.gptq.has_value(), "gptq", refusal);
    check(options.baseline == BaselineKind::kGptq, "baseline", refusal);
    check(options.widths.has_value(), "widths", refusal);
  }
  if (options.widths) check(true, "widths", widths_refusal(targets, model, options));
}

/// Entries by when they begin: of two that have the same weights one after the other, the one that
/// ends acts before the one that begins.
std::vector<size_t> in_order_of_phases(const std::vector<CompressionEntry>& entries) {
  std::vector<size_t> order(entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto begin = [&](size_t i) {
    return entries[i].quantize ? entries[i].quantize->begin_step : 0;
  };
  std::ranges::stable_sort(order, {}, begin);
  return order;
}

/// The most samples of rows or images that an entry looks at besides training; ranges of
/// activations follow from all.
int64_t samples_of(const QuantizeOptions& options) {
  if (options.activations) return std::numeric_limits<int64_t>::max();
  int64_t samples = options.resolved_effect_samples(false);
  if (options.gptq) samples = std::max(samples, options.gptq->samples);
  if (options.widths) samples = std::max(samples, options.widths->samples);
  if (const auto gptq = baseline_gptq(options)) samples = std::max(samples, gptq->samples);
  return samples;
}

}  // namespace

void check_compression_targets(const std::vector<CompressionEntry>& entries, const Model& model,
                               const WeightShards& shards) {
  Phases weights, activations;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].quantize) continue;
    const QuantizeOptions& options = *entries[i].quantize;
    const ActivePhase phase{quantize_name(i), options.begin_step,
                            options.end_step.value_or(std::numeric_limits<int64_t>::max())};
    const std::vector<WeightTarget> targets = weight_targets(options, model, phase.entry, shards);
    check_samples_fit(options, targets, model, phase.entry);
    for (const WeightTarget& target : targets) enter(weights, target.parameter, phase);
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

void check_start_weights(const std::vector<CompressionEntry>& entries, const Model& model) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].quantize) continue;
    const QuantizeOptions& options = *entries[i].quantize;
    // Training may move them into reach, and a scan of widths takes another format.
    const bool rounded = options.active_at(0) && !options.widths;
    for (const WeightTarget& target : weight_targets(options, model, quantize_name(i))) {
      const auto weight = std::ranges::find(model.parameters, target.parameter, &Parameter::name);
      const at::Tensor values = (*weight)->value().detach();
      const std::string refusal =
          rounded ? values_refusal(*target.format, values) : non_finite_refusal(values);
      if (refusal.empty()) continue;
      throw Error(ErrorCode::kConfig,
                  fmt::format("{}: the first values of {} can't be rounded to {}: {}",
                              quantize_name(i), target.parameter, target.format->name(), refusal));
    }
  }
}

void check_calibration(const std::vector<CompressionEntry>& entries,
                       const CalibrationSet& calibration) {
  for (const CompressionEntry& entry : entries) {
    if (entry.quantize) calibration.check(samples_of(*entry.quantize));
  }
}

std::vector<std::unique_ptr<Callback>> make_compression_callbacks(
    const std::vector<CompressionEntry>& entries, Model& model, FlatParameters& parameters,
    const CompressionTools& tools) {
  check_compression_targets(entries, model, tools.shards);
  if (tools.calibration != nullptr) check_calibration(entries, *tools.calibration);
  std::vector<std::unique_ptr<Callback>> callbacks;
  std::vector<QuantizeCallback*> quantizers;
  for (const size_t i : in_order_of_phases(entries)) {
    if (const auto& distil = entries[i].distil) {
      callbacks.push_back(std::make_unique<DistilCallback>(
          distil_name(i), *distil,
          tools.load_teacher(distil->teacher.value(), distil_name(i) + ".teacher"), model));
      continue;
    }
    if (!entries[i].quantize) continue;
    const QuantizeOptions& options = *entries[i].quantize;
    if (options.needs_samples() && tools.calibration == nullptr) {
      throw Error(ErrorCode::kConfig, quantize_name(i) + ": needs training samples");
    }
    auto weights =
        std::make_unique<QuantizeCallback>(quantize_name(i), options, model, parameters,
                                           tools.calibration, tools.budget_joules, tools.shards);
    QuantizeCallback* entry = weights.get();
    for (QuantizeCallback* earlier : quantizers) earlier->give_way_to(*entry);
    quantizers.push_back(entry);
    std::unique_ptr<Callback> after_training;
    if (options.gptq && tools.evaluator != nullptr && !tools.budget_joules &&
        options.baseline != BaselineKind::kNone) {
      auto baseline = std::make_unique<BaselineCallback>(
          BaselineCallback::Parts{*weights, options, *tools.evaluator, *tools.calibration});
      std::unique_ptr<Callback> after_step = baseline->make_after_step();
      after_training = baseline->make_after_training();
      callbacks.push_back(std::move(baseline));
      callbacks.push_back(std::move(weights));
      callbacks.push_back(std::move(after_step));
    } else {
      callbacks.push_back(std::move(weights));
    }
    if (options.widths) callbacks.push_back(std::make_unique<WidthScanCallback>(*entry));
    if (options.activations) {
      if (tools.ranks == nullptr) {
        throw Error(ErrorCode::kInternal, "activations need the ranks that share their ranges");
      }
      callbacks.push_back(std::make_unique<ActivationCallback>(
          quantize_name(i), activations_name(i), options,
          ActivationCallback::Parts{model, parameters, *entry, *tools.ranks, tools.calibration}));
    }
    if (after_training) callbacks.push_back(std::move(after_training));
  }
  return callbacks;
}

}  // namespace wattle
