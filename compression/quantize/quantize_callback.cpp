#include "compression/quantize/quantize_callback.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "common/config/config_file.h"
#include "common/error.h"
#include "compression/activations/activation_callback.h"
#include "compression/deployment.h"
#include "compression/posttraining/round_by_gptq.h"
#include "compression/quantize/saved_quantizer.h"
#include "compression/ranges/weight_ranges.h"

namespace wattle {

using nlohmann::json;

namespace {

constexpr const char* kBegins = "begins";  ///< in the ledger
constexpr const char* kRangesObservedAt = "ranges_observed_at";

std::vector<AdaptableWeight> adaptable_weights(const WeightQuantizer& quantizer,
                                               const QuantizeOptions& options,
                                               const FlatParameters& parameters) {
  std::vector<AdaptableWeight> weights;
  for (const int64_t index : quantizer.indices()) {
    const WeightTarget& target = quantizer.target_of(index);
    weights.push_back({index, target.parameter,
                       width_formats(target, parameters.master_of(index).sizes(), options)});
  }
  return weights;
}

}  // namespace

QuantizeCallback::QuantizeCallback(std::string name, const QuantizeOptions& options,
                                   const Model& model, FlatParameters& parameters,
                                   const CalibrationSet* calibration,
                                   std::optional<double> budget_joules, const WeightShards& shards)
    : name_(std::move(name)),
      options_(options),
      parameters_(parameters),
      calibration_(calibration),
      quantizer_(name_, weight_targets(options, model, name_, shards), parameters.parameters(),
                 options.clip_gradients) {
  if (!options_.widths || !options_.widths->adapt) return;
  adaptive_.emplace(name_, *options_.widths, adaptable_weights(quantizer_, options_, parameters_),
                    parameters_.parameters(), budget_joules);
}

void QuantizeCallback::step_ends(const TrainingView&, const MetricsRecord& record) {
  if (active_ && adaptive_) adaptive_->step_ends(record);
}

bool QuantizeCallback::begins_after_training(const TrainingView& view) const {
  return is_due_after_training(view) && still_rounding(view) == nullptr;
}

/// Where nothing but training keeps it from beginning.
bool QuantizeCallback::is_due_after_training(const TrainingView& view) const {
  return !active_ && !began_at() && options_.deployed_after(view.steps) &&
         std::ranges::none_of(later_,
                              [&](const auto* e) { return e->begins_after_training(view); });
}

/// An entry that training was to go on with before this one began; nullptr without one.
const QuantizeCallback* QuantizeCallback::still_rounding(const TrainingView& view) const {
  if (options_.begin_step <= view.step) return nullptr;
  const auto found = std::ranges::find_if(earlier_, &QuantizeCallback::is_active);
  return found == earlier_.end() ? nullptr : *found;
}

/// The entry that takes over from this one after training; nullptr where none does.
const QuantizeCallback* QuantizeCallback::successor(const TrainingView& view) const {
  const auto found = std::ranges::find_if(later_, [&](const QuantizeCallback* entry) {
    return entry->options_.begin_step <= view.step && entry->begins_after_training(view);
  });
  return !active_ || found == later_.end() ? nullptr : *found;
}

void QuantizeCallback::give_way_to(QuantizeCallback& next) {
  const std::vector<int64_t> indices = next.quantizer_.indices();
  const bool shares = std::ranges::any_of(quantizer_.indices(), [&](int64_t index) {
    return std::ranges::find(indices, index) != indices.end();
  });
  if (!shares) return;
  later_.push_back(&next);
  next.earlier_.push_back(this);
}

bool QuantizeCallback::training_is_done(const TrainingView& view) {
  if (const QuantizeCallback* next = successor(view)) {
    set_active(false);
    note(view.step, "ends");
    tell(view, fmt::format("ends after training, for {}", next->name_));
    return true;
  }
  if (!is_due_after_training(view)) return false;
  if (const QuantizeCallback* other = still_rounding(view)) {
    stay_out(view, *other);
    return false;
  }
  tell(view, view.step < options_.begin_step
                 ? fmt::format("training has ended before begin_step {}: weights are rounded now, "
                               "after training",
                               options_.begin_step)
                 : "begins after training");
  begin(view);
  if (options_.weight_ranges) observe_ranges(view.step);
  return true;
}

/// Said once, though a run that is run again comes here again.
void QuantizeCallback::stay_out(const TrainingView& view, const QuantizeCallback& other) {
  if (!events_.empty() && events_.back().first == view.step) return;
  note(view.step, fmt::format("doesn't begin: {} still rounds", other.name_));
  tell(view, fmt::format("training has ended before begin_step {}, and {} still rounds weights of "
                         "this entry: it doesn't begin",
                         options_.begin_step, other.name_));
}

void QuantizeCallback::tell(const TrainingView& view, const std::string& what) const {
  if (view.record_event) view.record_event(name_ + ": " + what);
}

std::optional<int64_t> QuantizeCallback::began_at() const {
  const auto last = std::find_if(events_.rbegin(), events_.rend(),
                                 [](const auto& event) { return event.second == kBegins; });
  return last == events_.rend() ? std::nullopt : std::optional(last->first);
}

void QuantizeCallback::begin(const TrainingView& view) {
  if (options_.widths || options_.gptq) {
    const PausedObservers paused(view.model);  // of the entries before this one
    // The entry's own quantisers have no ranges yet.
    const ActivationQuantizers activations =
        calibrated_activations(view.model, activation_sites(options_, view.model, name_),
                               *calibration_, options_.calibration_samples);
    const HookedActivations hooked(view.model, activations);
    if (options_.widths) choose_formats(view);
    if (options_.gptq) round_masters(view.model);
  }
  set_active(true);
  note(view.step, kBegins);
}

void QuantizeCallback::step_begins(const TrainingView& view) {
  const int64_t step = view.step;
  const bool wanted = options_.active_at(step);
  check_began_in_time(step);
  if (wanted && !active_) begin(view);
  if (!wanted && active_) {
    set_active(false);
    note(step, "ends");
  }
  // Of values that are not finite nothing is learned; the loop says what comes of the step.
  const bool looks = active_ && !frozen_ && quantizer_.complaint().empty();
  if (looks && adaptive_) adapt_formats(view);
  if (looks && options_.learn != ScaleLearning::kNone) begin_learning();
  if (looks && options_.weight_ranges) observe_ranges(step);
  if (looks && options_.freeze_observers_step && step >= *options_.freeze_observers_step) {
    freeze_scales();
    note(step, "scales are frozen");
  }
  if (!norms_frozen_ && options_.freeze_batch_norm_step &&
      step >= *options_.freeze_batch_norm_step) {
    norms_frozen_ = true;
    note(step, "batch norm is frozen");
  }
  if (norms_frozen_) view.model.frozen_norms = true;
}

/// What training would go on with is rounded (GPTQ rounds the master values), and was to be trained
/// in float.
void QuantizeCallback::check_began_in_time(int64_t step) const {
  if (!active_ || step >= options_.begin_step) return;
  throw Error(ErrorCode::kConfig,
              fmt::format("{}: weights were rounded after step {}, when training had ended, and "
                          "begin_step is {}: training can't go on from there; leave "
                          "train.early_stop as it was, or use another run.output_dir",
                          name_, began_at().value(), options_.begin_step));
}

void QuantizeCallback::choose_formats(const TrainingView& view) {
  const std::vector<int64_t> indices = quantizer_.indices();
  std::vector<WeightTarget> targets;
  for (const int64_t index : indices) targets.push_back(quantizer_.target_of(index));
  widths_ = assign_widths(view.model, targets, options_, *calibration_);
  std::map<std::string, int64_t> weights;
  int64_t bytes = 0;
  for (size_t i = 0; i < indices.size(); ++i) {
    const WidthReading& taken = widths_[i].readings[widths_[i].chosen];
    quantizer_.set_format(indices[i], taken.format);
    ++weights[taken.format->name()];
    bytes += taken.bytes;
  }
  std::string what = fmt::format("widths are chosen: {} bytes;", bytes);
  for (const auto& [format, count] : weights) what += fmt::format(" {} {}", count, format);
  int64_t lost = 0;
  for (const WidthAssignment& weight : widths_) {
    lost += std::ranges::count_if(
        weight.readings, [](const WidthReading& r) { return !std::isfinite(r.loss_increase); });
  }
  if (lost > 0) what += fmt::format("; {} candidates left no finite loss", lost);
  note(view.step, what);
}

void QuantizeCallback::adapt_formats(const TrainingView& view) {
  const int64_t eighths = adaptive_->eighths();
  const std::vector<WidthChange> changes = adaptive_->step_begins(view, quantizer_);
  if (adaptive_->eighths() != eighths) {
    tell(view,
         fmt::format("the energy budget {}: widths may take {}/8 of theirs",
                     adaptive_->eighths() < eighths ? "tightens" : "eases", adaptive_->eighths()));
  }
  for (const WidthChange& change : changes) {
    const std::string what =
        fmt::format("{}: {} becomes {} (gradient noise scale {:.4g} batches)", change.parameter,
                    change.from, change.to, change.noise_scale);
    note(view.step, what);
    tell(view, what);
  }
  if (!changes.empty()) parameters_.publish();
}

/// Where it is due, and for weights that have no scales yet.
void QuantizeCallback::observe_ranges(int64_t step) {
  const at::NoGradGuard no_grad;
  const WeightRangeOptions& ranges = *options_.weight_ranges;
  const bool due = (step - options_.begin_step) % ranges.every == 0 && ranges_observed_at_ != step;
  if (due) ranges_observed_at_ = step;
  bool any = false;
  for (const int64_t index : quantizer_.indices()) {
    const WeightScales* before = quantizer_.scales_of(index);
    if (before != nullptr && !due) continue;
    const GridFormatOptions* format = quantizer_.target_of(index).format->grid();
    if (!format || format->kind != GridFormatOptions::Kind::kInteger) continue;  // of widths
    const at::Tensor master = quantizer_.folded(index, parameters_.master_of(index));
    quantizer_.set_scales(index, observed_scales(*format, ranges.observer, master, before,
                                                 quantizer_.shard_of(index)));
    any = true;
  }
  if (any) parameters_.publish();
}

void QuantizeCallback::round_masters(Model& model) {
  const std::vector<int64_t> indices = quantizer_.indices();
  std::vector<WeightTarget> targets;
  for (const int64_t index : indices) targets.push_back(quantizer_.target_of(index));
  round_by_gptq(model, targets, *calibration_, *options_.gptq,
                [&](size_t i, const GptqWeight& rounded) {
                  parameters_.master_of(indices[i]).copy_(rounded.values);
                  if (rounded.scales) quantizer_.set_scales(indices[i], *rounded.scales);
                  parameters_.publish();
                });
}

/// For weights whose scales are not learned yet.
void QuantizeCallback::begin_learning() {
  const at::NoGradGuard no_grad;
  bool any = false;
  for (const int64_t index : quantizer_.indices()) {
    if (quantizer_.learning_of(index) != ScaleLearning::kNone) continue;
    any = true;
    if (quantizer_.scales_of(index)) {  // GPTQ's
      quantizer_.learn_scales(index, options_.learn, options_.scale_lr);
      continue;
    }
    const WeightFormat& format = *quantizer_.target_of(index).format;
    const WeightShard* shard = quantizer_.shard_of(index);
    const at::Tensor master = quantizer_.folded(index, parameters_.master_of(index));
    quantizer_.set_scales(index,
                          options_.learn == ScaleLearning::kStep
                              ? WeightScales{initial_step_size(*format.grid(), master, shard), {}}
                              : format.scales_of(master, shard));
    quantizer_.learn_scales(index, options_.learn, options_.scale_lr);
  }
  if (any) parameters_.publish();
}

void QuantizeCallback::freeze_scales() {
  const at::NoGradGuard no_grad;
  for (const int64_t index : quantizer_.indices()) {
    if (quantizer_.scales_of(index) == nullptr) {
      const at::Tensor master = quantizer_.folded(index, parameters_.master_of(index));
      quantizer_.set_scales(
          index, quantizer_.target_of(index).format->scales_of(master, quantizer_.shard_of(index)));
    } else {
      quantizer_.learn_scales(index, ScaleLearning::kNone, 0);
    }
  }
  frozen_ = true;
}

void QuantizeCallback::set_active(bool active) {
  if (active == active_) return;
  active_ = active;
  if (active) {
    parameters_.add_transform(quantizer_);
    if (adaptive_) parameters_.add_transform(adaptive_->noise());
  } else {
    if (adaptive_) parameters_.remove_transform(adaptive_->noise());
    parameters_.remove_transform(quantizer_);
  }
}

std::string QuantizeCallback::save_state() const {
  QuantizeOptions options = options_.of_training();
  if (options.widths) options.widths = options.widths->in_bytes();
  json events = json::array();
  for (const auto& [step, what] : events_) events.push_back({{"step", step}, {"what", what}});
  json state = {{"active", active_},
                {"frozen", frozen_},
                {"norms_frozen", norms_frozen_},
                {"clip_gradients", quantizer_.clips_gradients()},
                {"options", write_config(fields_of(options))},
                {"weights", weights_to_json(quantizer_)},
                {"events", events}};
  if (adaptive_) {
    state["adaptive"] = adaptive_->save();
    state[kResumeKey] = adaptive_->save_energy();
  }
  if (ranges_observed_at_) state[kResumeKey][kRangesObservedAt] = *ranges_observed_at_;
  return state.dump();
}

void QuantizeCallback::load_state(const std::string& text) {
  const json state = json::parse(text);
  events_.clear();
  for (const json& event : state.at("events")) note(event.at("step"), event.at("what"));
  frozen_ = state.at("frozen");
  norms_frozen_ = state.at("norms_frozen");
  weights_from_json(state.at("weights"), parameters_.parameters(), options_.scale_lr, quantizer_);
  if (adaptive_) {
    adaptive_->load(state.at("adaptive"));
    adaptive_->load_energy(state.at(kResumeKey));
  }
  const json resume = state.value(kResumeKey, json::object());
  if (resume.contains(kRangesObservedAt)) ranges_observed_at_ = resume.at(kRangesObservedAt);
  set_active(state.at("active"));
}

}  // namespace wattle
