#include "compression/report/baseline.h"

#include <ATen/core/grad_mode.h>

#include <map>
#include <nlohmann/json.hpp>

#include "compression/posttraining/round_by_gptq.h"

namespace wattle {

using nlohmann::json;

namespace {

/// Puts a transform between master and working values for as long as this lives.
class Applied {
 public:
  Applied(FlatParameters& parameters, WorkingTransform& transform)
      : parameters_(parameters), transform_(transform) {
    parameters_.add_transform(transform_);
  }
  ~Applied() { parameters_.remove_transform(transform_); }
  Applied(const Applied&) = delete;
  Applied& operator=(const Applied&) = delete;

 private:
  FlatParameters& parameters_;
  WorkingTransform& transform_;
};

/// Values that stand in for the weights'.
class GivenValues : public WorkingTransform {
 public:
  std::string name() const override { return "baseline"; }
  bool applies_to(int64_t index, const Parameter&) const override {
    return values_.contains(index);
  }
  void transform(int64_t index, at::Tensor& values) override { values.copy_(values_.at(index)); }
  void set(int64_t index, at::Tensor values) { values_[index] = std::move(values); }

 private:
  std::map<int64_t, at::Tensor> values_;
};

}  // namespace

class BaselineCallback::After : public Callback {
 public:
  explicit After(BaselineCallback& baseline) : baseline_(baseline) {}
  void train_begins(const TrainingView&) override { baseline_.after(); }
  void step_begins(const TrainingView&) override { baseline_.after(); }
  void step_ends(const TrainingView&, const MetricsRecord&) override { baseline_.after(); }

 private:
  BaselineCallback& baseline_;
};

std::unique_ptr<Callback> BaselineCallback::make_after() { return std::make_unique<After>(*this); }

void BaselineCallback::before(const TrainingView& view) {
  if (baseline_ || parts_.quantize.is_active() || !options_.active_at(view.step)) return;
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> indices = parts_.quantize.quantizer().indices();
  std::vector<WeightTarget> targets;
  for (const int64_t index : indices) {
    targets.push_back(parts_.quantize.quantizer().target_of(index));
  }
  Baseline found{.step = view.step, .float_loss = parts_.evaluator.run()->loss};
  {
    WeightQuantizer nearest("baseline", targets, view.parameters.parameters(), false);
    const Applied applied(view.parameters, nearest);
    found.nearest_loss = parts_.evaluator.run()->loss;
  }
  if (options_.baseline == BaselineKind::kGptq && !options_.gptq) {
    GivenValues given;
    round_by_gptq(
        view.model, targets, *parts_.calibration, GptqSection(),
        [&](size_t i, const GptqWeight& rounded) { given.set(indices[i], rounded.values); });
    for (size_t i = 0; i < indices.size(); ++i) {  // what GPTQ leaves to the format
      if (given.applies_to(indices[i], *view.parameters.parameters()[indices[i]])) continue;
      at::Tensor values = view.parameters.master_of(indices[i]).clone();
      targets[i].format->fake_quantise(values);
      given.set(indices[i], values);
    }
    const Applied applied(view.parameters, given);
    found.gptq_loss = parts_.evaluator.run()->loss;
  }
  baseline_ = found;
  awaits_gptq_ = options_.gptq.has_value();
}

void BaselineCallback::after() {
  if (!awaits_gptq_ || !parts_.quantize.is_active()) return;
  awaits_gptq_ = false;
  baseline_->gptq_loss = parts_.evaluator.run()->loss;
}

std::string BaselineCallback::save_state() const {
  if (!baseline_) return json::object().dump();
  json state = {{"step", baseline_->step},
                {"float_loss", baseline_->float_loss},
                {"nearest_loss", baseline_->nearest_loss}};
  if (baseline_->gptq_loss) state["gptq_loss"] = *baseline_->gptq_loss;
  return state.dump();
}

void BaselineCallback::load_state(const std::string& text) {
  const json state = json::parse(text);
  baseline_.reset();
  if (state.empty()) return;
  baseline_ = Baseline{.step = state.at("step"),
                       .float_loss = state.at("float_loss"),
                       .nearest_loss = state.at("nearest_loss")};
  if (state.contains("gptq_loss")) baseline_->gptq_loss = state.at("gptq_loss").get<double>();
}

}  // namespace wattle
