#include "compression/widths/adaptive_widths.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "compression/formats/weight_checks.h"
#include "compression/ranges/weight_ranges.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {
namespace {

using nlohmann::json;
using Choices = std::vector<std::vector<WidthChoice>>;

constexpr int64_t kEighths = 8;
constexpr double kNever = std::numeric_limits<double>::infinity();  ///< as choose_widths() has it

std::vector<int64_t> indices_of(const std::vector<AdaptableWeight>& weights) {
  std::vector<int64_t> indices;
  for (const AdaptableWeight& weight : weights) indices.push_back(weight.index);
  return indices;
}

size_t present_of(const AdaptableWeight& weight, const WeightQuantizer& quantizer) {
  const std::string name = quantizer.target_of(weight.index).format->name();
  const auto found = std::ranges::find_if(
      weight.formats, [&](const auto& format) { return format->name() == name; });
  return static_cast<size_t>(found - weight.formats.begin());
}

/// Of what forward reads, with batch norm folded in: there the noise is measured, too. Nothing if
/// the format can't hold the values.
std::optional<double> squared_error(const WeightFormat& format,
                                    const std::optional<ObserverOptions>& observer,
                                    const at::Tensor& values) {
  at::Tensor rounded = values.clone();
  if (!try_to_round(format, observer, rounded)) return std::nullopt;
  const float* x = weight_data(values);
  const float* y = weight_data(rounded);
  double sum = 0;
  for (int64_t i = 0; i < values.numel(); ++i) {
    const double difference = static_cast<double>(x[i]) - y[i];
    sum += difference * difference;
  }
  return sum;
}

WidthChoice sum_of(const Choices& choices, const std::vector<size_t>& chosen) {
  WidthChoice sum;
  for (size_t i = 0; i < chosen.size(); ++i) {
    sum.bytes += choices[i][chosen[i]].bytes;
    sum.loss_increase += choices[i][chosen[i]].loss_increase;
  }
  return sum;
}

/// Of the smallest choices that may be taken: each weight has one, the format that it is in.
int64_t least_bytes(const Choices& choices) {
  const auto key = [](const WidthChoice& choice) {
    return std::pair(choice.loss_increase == kNever, choice.bytes);
  };
  int64_t sum = 0;
  for (const auto& of_one : choices) sum += std::ranges::min_element(of_one, {}, key)->bytes;
  return sum;
}

int64_t rounded_down(int64_t bytes, int64_t eighths) {
  return bytes / kEighths * eighths + bytes % kEighths * eighths / kEighths;
}

}  // namespace

std::optional<std::vector<size_t>> better_widths(const Choices& choices,
                                                 const std::vector<size_t>& present,
                                                 int64_t budget_bytes, double margin) {
  const std::vector<size_t> best = choose_widths(choices, budget_bytes);
  const WidthChoice now = sum_of(choices, present), then = sum_of(choices, best);
  const bool fits = now.bytes <= budget_bytes;
  if (fits && !(then.loss_increase < (1 - margin) * now.loss_increase)) return std::nullopt;
  return best == present ? std::nullopt : std::optional(best);
}

int64_t affordable_eighths(double budget_joules, double spent_joules, double needed_joules) {
  const double left = budget_joules - spent_joules;
  if (needed_joules <= left) return kEighths;
  return std::clamp(static_cast<int64_t>(std::floor(kEighths * left / needed_joules)), int64_t{1},
                    kEighths);
}

AdaptiveWidths::AdaptiveWidths(const std::string& name, const WidthOptions& options,
                               std::vector<AdaptableWeight> weights,
                               const std::vector<Parameter*>& parameters,
                               std::optional<double> budget_joules)
    : options_(options),
      weights_(std::move(weights)),
      noise_(name + ".noise", indices_of(weights_), parameters, options.adapt->values),
      budget_joules_(budget_joules) {}

void AdaptiveWidths::step_ends(const MetricsRecord& record) {
  noise_.end_step(!record.skipped);
  spent_joules_ = record.run_energy_joules.value_or(0);
  if (!record.energy_joules) return;
  window_joules_ += *record.energy_joules;
  ++window_steps_;
}

std::vector<WidthChange> AdaptiveWidths::step_begins(const TrainingView& view,
                                                     WeightQuantizer& quantizer) {
  std::vector<WidthChange> changes;
  const std::optional<int64_t>& end = options_.adapt->end_step;
  if (noise_.steps() < options_.adapt->every || (end && view.step > *end)) return changes;
  const at::NoGradGuard no_grad;
  follow_budget(view);
  const Choices choices = choices_of(view, quantizer);
  std::vector<size_t> present;
  for (const AdaptableWeight& weight : weights_) present.push_back(present_of(weight, quantizer));
  const int64_t whole = options_.in_bytes().budget_bytes.value();
  const int64_t budget = std::max(rounded_down(whole, eighths_), least_bytes(choices));
  const auto better = better_widths(choices, present, budget, options_.adapt->margin);
  for (size_t i = 0; better && i < weights_.size(); ++i) {
    if ((*better)[i] == present[i]) continue;
    const AdaptableWeight& weight = weights_[i];
    const auto& format = weight.formats[(*better)[i]];
    changes.push_back({view.step, weight.parameter, weight.formats[present[i]]->name(),
                       format->name(), noise_.reading(weight.index).scale()});
    quantizer.set_format(weight.index, format);
  }
  changes_.insert(changes_.end(), changes.begin(), changes.end());
  noise_.begin_window();
  window_joules_ = 0;
  window_steps_ = 0;
  return changes;
}

void AdaptiveWidths::follow_budget(const TrainingView& view) {
  if (!budget_joules_ || window_steps_ == 0) return;
  const double each = window_joules_ / static_cast<double>(window_steps_);
  eighths_ = affordable_eighths(*budget_joules_, spent_joules_,
                                each * static_cast<double>(view.steps - view.step));
}

Choices AdaptiveWidths::choices_of(const TrainingView& view,
                                   const WeightQuantizer& quantizer) const {
  Choices choices;
  for (const AdaptableWeight& weight : weights_) {
    const GradientNoiseReading noise = noise_.reading(weight.index);
    const double curvature = noise.variance / static_cast<double>(noise.values);
    const at::Tensor values =
        quantizer.folded(weight.index, view.parameters.master_of(weight.index));
    choices.emplace_back();
    for (const auto& format : weight.formats) {
      const auto error = squared_error(*format, quantizer.target_of(weight.index).observer, values);
      choices.back().push_back(
          {format->bytes_of(values.sizes()), error ? 0.5 * curvature * *error : kNever});
    }
  }
  return choices;
}

json AdaptiveWidths::save() const {
  json changes = json::array();
  for (const WidthChange& change : changes_) {
    changes.push_back({{"step", change.step},
                       {"name", change.parameter},
                       {"from", change.from},
                       {"to", change.to},
                       {"noise_scale", std::isfinite(change.noise_scale) ? json(change.noise_scale)
                                                                         : json(nullptr)}});
  }
  return {{"changes", changes}};
}

void AdaptiveWidths::load(const json& state) {
  changes_.clear();
  for (const json& change : state.at("changes")) {
    const json& noise = change.at("noise_scale");
    changes_.push_back({change.at("step"), change.at("name"), change.at("from"), change.at("to"),
                        noise.is_null() ? INFINITY : noise.get<double>()});
  }
}

json AdaptiveWidths::save_energy() const {
  return {{"budget_eighths", eighths_},
          {"spent_joules", spent_joules_},
          {"window_joules", window_joules_},
          {"window_steps", window_steps_}};
}

void AdaptiveWidths::load_energy(const json& state) {
  eighths_ = state.at("budget_eighths");
  spent_joules_ = state.at("spent_joules");
  window_joules_ = state.at("window_joules");
  window_steps_ = state.at("window_steps");
}

}  // namespace wattle
