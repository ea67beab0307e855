#include "compression/report/baseline.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "compression/activations/activation_callback.h"
#include "compression/posttraining/posttraining.h"
#include "compression/report/in_float.h"

namespace wattle {

using nlohmann::json;

namespace {

/// A loss that is not finite is null in JSON.
double loss_of(const json& saved) { return saved.is_null() ? NAN : saved.get<double>(); }

}  // namespace

class BaselineCallback::AfterStep : public Callback {
 public:
  explicit AfterStep(BaselineCallback& baseline) : baseline_(baseline) {}
  void step_begins(const TrainingView& view) override { baseline_.after(view); }

 private:
  BaselineCallback& baseline_;
};

class BaselineCallback::AfterTraining : public Callback {
 public:
  explicit AfterTraining(BaselineCallback& baseline) : baseline_(baseline) {}
  bool works_after_training(const TrainingView&) const override { return baseline_.awaits_gptq_; }
  bool training_is_done(const TrainingView& view) override {
    baseline_.after(view);
    return false;
  }

 private:
  BaselineCallback& baseline_;
};

std::unique_ptr<Callback> BaselineCallback::make_after_step() {
  return std::make_unique<AfterStep>(*this);
}

std::unique_ptr<Callback> BaselineCallback::make_after_training() {
  return std::make_unique<AfterTraining>(*this);
}

bool BaselineCallback::training_is_done(const TrainingView& view) {
  if (!parts_.quantize.begins_after_training(view)) return false;
  const bool rounds = options_.activations && options_.activation_step() <= view.steps;
  before(view,
         rounds ? activation_sites(options_, view.model, entry_) : std::vector<ActivationSite>());
  return false;
}

void BaselineCallback::before(const TrainingView& view,
                              const std::vector<ActivationSite>& activations) {
  if (baseline_) return;
  QuantisedParts quantised = quantised_parts(view.model, view.parameters);
  for (const int64_t index : parts_.quantize.quantizer().indices()) {
    quantised.weights.push_back(parts_.quantize.quantizer().target_of(index));
  }
  quantised.activations.insert(quantised.activations.end(), activations.begin(), activations.end());
  in_float(view.model, view.parameters, [&] {
    const PostTrainingLosses losses = evaluate_after_rounding(
        view.model, quantised, {parts_.calibration, options_.calibration_samples},
        [this] { return parts_.evaluator.run()->loss; });
    baseline_ = Baseline{view.step, losses.in_float, losses.nearest};
  });
  awaits_gptq_ = true;
}

void BaselineCallback::after(const TrainingView& view) {
  if (!awaits_gptq_ || !parts_.quantize.is_active()) return;
  awaits_gptq_ = false;
  const PausedObservers paused(view.model);
  baseline_->gptq_loss = parts_.evaluator.run()->loss;
}

std::string BaselineCallback::save_state() const {
  if (!baseline_) return json::object().dump();
  json state = {{"step", baseline_->step},
                {"float_loss", baseline_->float_loss},
                {"nearest_loss", baseline_->nearest_loss},
                {"awaits_gptq", awaits_gptq_}};
  if (baseline_->gptq_loss) state["gptq_loss"] = *baseline_->gptq_loss;
  return state.dump();
}

void BaselineCallback::load_state(const std::string& text) {
  const json state = json::parse(text);
  baseline_.reset();
  if (state.empty()) return;
  baseline_ = Baseline{.step = state.at("step"),
                       .float_loss = loss_of(state.at("float_loss")),
                       .nearest_loss = loss_of(state.at("nearest_loss"))};
  awaits_gptq_ = state.value("awaits_gptq", false);
  if (state.contains("gptq_loss")) baseline_->gptq_loss = loss_of(state.at("gptq_loss"));
}

}  // namespace wattle
