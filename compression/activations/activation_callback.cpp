#include "compression/activations/activation_callback.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "compression/quantize/target_patterns.h"
#include "trainer/loop/figures_exchange.h"
#include "trainer/nn/model.h"
#include "trainer/state/flat_parameters.h"

namespace wattle {
namespace {

using nlohmann::json;

ActivationSettings settings_of(const QuantizeOptions& options) {
  const ActivationOptions& activations = *options.activations;
  return {activations.grid(), options.observer, activations.clip_gradients,
          activations.learn != RangeLearning::kNone, activations.range_lr};
}

/// Puts a quantiser on its point, or takes it away if it is there.
void put_hook(Model& model, ActivationQuantizer& quantizer, bool there) {
  ActivationPoint& point = **std::ranges::find(model.activations, quantizer.point(),
                                               [](const ActivationPoint* p) { return p->name(); });
  if (there) {
    point.set_hook(&quantizer);
  } else if (point.hook() == &quantizer) {
    point.set_hook(nullptr);
  }
}

}  // namespace

std::vector<std::string> activation_targets(const ActivationOptions& options, const Model& model,
                                            const std::string& entry) {
  if (model.activations.empty()) {
    throw Error(ErrorCode::kConfig,
                entry +
                    ".activations: this model's family has no activations that can be "
                    "quantised; mlp, resnet and vgg have");
  }
  std::vector<std::string> names;
  for (const ActivationPoint* point : model.activations) names.push_back(point->name());
  return matching_names(options.targets, names, entry + ".activations.targets", "activation");
}

std::vector<ActivationSite> activation_sites(const QuantizeOptions& options, const Model& model,
                                             const std::string& entry) {
  std::vector<ActivationSite> sites;
  if (!options.activations) return sites;
  for (const std::string& point : activation_targets(*options.activations, model, entry)) {
    sites.push_back({point, settings_of(options)});
  }
  return sites;
}

ActivationCallback::ActivationCallback(const std::string& entry, std::string name,
                                       const QuantizeOptions& options, const Parts& parts)
    : name_(std::move(name)), options_(options), parts_(parts) {
  for (const ActivationSite& site : activation_sites(options_, parts.model, entry)) {
    quantizers_.push_back(std::make_unique<ActivationQuantizer>(site.name, site.settings));
  }
  FlatParameters& parameters = parts.parameters;
  biases_ = std::make_unique<BiasQuantizer>(
      name_, bias_targets(parts.model), quantizers_,
      BiasQuantizer::Sources{[&parameters](int64_t index) { return parameters.master_of(index); },
                             [&parameters](int64_t weight) {
                               return rounder_of(weight, *parameters.parameters()[weight],
                                                 parameters.transforms());
                             }});
}

ActivationCallback::~ActivationCallback() {
  for (const auto& quantizer : quantizers_) put_hook(parts_.model, *quantizer, false);
}

void ActivationCallback::set_active(bool active) {
  active_ = active;
  for (const auto& quantizer : quantizers_) put_hook(parts_.model, *quantizer, active);
}

void ActivationCallback::set_rounding(bool rounding) {
  if (rounding == rounding_) return;
  rounding_ = rounding;
  for (const auto& quantizer : quantizers_) quantizer->set_rounding(rounding);
  if (rounding) {
    parts_.parameters.add_transform(*biases_);
  } else {
    parts_.parameters.remove_transform(*biases_);
  }
}

void ActivationCallback::follow_schedule(int64_t step) {
  const bool active = options_.active_at(step);
  if (active != active_) {
    set_active(active);
    events_.emplace_back(step, active ? "begins" : "ends");
  }
  const bool rounding = active && step >= options_.activation_step();
  if (rounding != rounding_) {
    set_rounding(rounding);
    events_.emplace_back(step, rounding ? "rounding begins" : "rounding ends");
  }
  const auto& freeze = options_.freeze_observers_step;
  if (active && !frozen_ && freeze && step >= *freeze) {
    frozen_ = true;
    events_.emplace_back(step, "ranges are frozen");
  }
}

bool ActivationCallback::works_after_training(const TrainingView& view) const {
  return !rounding_ && options_.activation_step() <= view.steps &&
         (parts_.weights.is_active() || parts_.weights.begins_after_training(view));
}

bool ActivationCallback::training_is_done(const TrainingView& view) {
  if (active_ && !parts_.weights.is_active()) {  // they have given way to another entry
    set_rounding(false);
    set_active(false);
    events_.emplace_back(view.step, "ends");
    return true;
  }
  const int64_t begin_step = options_.activation_step();
  if (rounding_ || !parts_.weights.is_active() || begin_step > view.steps) return false;
  if (view.step < begin_step && view.record_event) {
    view.record_event(
        fmt::format("{}: training has ended before begin_step {}: activations are "
                    "rounded now, after training",
                    name_, begin_step));
  }
  if (!active_) {
    set_active(true);
    events_.emplace_back(view.step, "begins");
  }
  calibrate_unseen();
  set_rounding(true);
  events_.emplace_back(view.step, "rounding begins");
  return true;
}

void ActivationCallback::calibrate_unseen() {
  std::vector<ActivationQuantizer*> unseen;
  for (const auto& quantizer : quantizers_) {
    if (!quantizer->scale()) unseen.push_back(quantizer.get());
  }
  if (unseen.empty()) return;
  if (parts_.calibration == nullptr) {
    throw Error(ErrorCode::kConfig, name_ + ": needs training samples to calibrate ranges on");
  }
  calibrate(parts_.model, unseen, *parts_.calibration, options_.calibration_samples);
}

void ActivationCallback::step_begins(const TrainingView& view) {
  follow_schedule(view.step);
  observing_ = active_ && !frozen_;
  for (const auto& quantizer : quantizers_) {
    quantizer->set_observing(observing_ && !(learns() && quantizer->rounds()));
  }
}

void ActivationCallback::step_ends(const TrainingView&, const MetricsRecord& record) {
  for (const auto& quantizer : quantizers_) quantizer->set_observing(false);
  const std::vector<std::array<double, 2>> gradients = end_gradients();
  if (!observing_) return;
  observing_ = false;
  std::vector<RangeStatistics*> batches;
  for (const auto& quantizer : quantizers_) batches.push_back(&quantizer->batch());
  all_reduce(batches, parts_.ranks);
  for (size_t i = 0; i < quantizers_.size(); ++i) {
    quantizers_[i]->batch_ends(!record.skipped, gradients[i]);
  }
  if (rounding_) parts_.parameters.publish();  // the biases' steps have changed
}

/// The sum over all micro-batches, of each quantiser. A micro-batch with values that are not finite
/// leaves none at some points; no step is made of it, but every rank takes part.
std::vector<std::array<double, 2>> ActivationCallback::end_gradients() {
  std::vector<std::array<double, 2>> sums(quantizers_.size());
  if (!learns() || !rounding_) return sums;
  FiguresExchange exchange(parts_.ranks, at::kCPU);
  double most = 0;
  for (const auto& quantizer : quantizers_) {
    most = std::max(most, static_cast<double>(quantizer->end_gradients().size()));
  }
  for (const std::vector<double>& rank : exchange.gather({&most, 1})) {
    most = std::max(most, rank.front());
  }
  std::vector<double> local(static_cast<size_t>(most) * 2 * sums.size());
  for (size_t q = 0; q < quantizers_.size(); ++q) {
    auto& own = quantizers_[q]->end_gradients();
    for (size_t i = 0; i < own.size(); ++i) {
      for (size_t end = 0; end < 2; ++end) local[2 * (i * sums.size() + q) + end] = own[i][end];
    }
    own.clear();
  }
  for (const std::vector<double>& rank : exchange.gather(local)) {
    for (size_t i = 0; i < rank.size(); ++i) sums[i / 2 % sums.size()][i % 2] += rank[i];
  }
  return sums;
}

std::string ActivationCallback::save_state() const {
  json events = json::array(), quantizers = json::array();
  for (const auto& [step, what] : events_) events.push_back({{"step", step}, {"what", what}});
  for (const auto& quantizer : quantizers_) quantizers.push_back(quantizer->save());
  return json{{"active", active_},
              {"rounding", rounding_},
              {"frozen", frozen_},
              {"events", events},
              {"activations", quantizers}}
      .dump();
}

void ActivationCallback::load_state(const std::string& text) {
  const json state = json::parse(text);
  events_.clear();
  for (const json& event : state.at("events")) {
    events_.emplace_back(event.at("step"), event.at("what"));
  }
  const json& saved = state.at("activations");
  if (saved.size() != quantizers_.size()) {
    throw Error(ErrorCode::kFormat, name_ + ": the checkpoint has other activations");
  }
  for (size_t i = 0; i < quantizers_.size(); ++i) {
    if (saved[i].at("point") != quantizers_[i]->point()) {
      throw Error(ErrorCode::kFormat, name_ + ": the checkpoint has other activations");
    }
    quantizers_[i]->load(saved[i]);
  }
  frozen_ = state.at("frozen");
  set_active(state.at("active"));
  set_rounding(state.at("rounding"));
}

}  // namespace wattle
