#include "compression/posttraining/round_by_gptq.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <span>

#include "trainer/nn/layers/norm_fold.h"

namespace wattle {
namespace {

Parameter& parameter_named(const Model& model, const std::string& name) {
  const auto found =
      std::ranges::find_if(model.parameters, [&](const Parameter* p) { return p->name() == name; });
  return **found;
}

/// What is rounded of a weight: with batch norm folded in, one row for each output.
at::Tensor matrix_of(const WeightTarget& target, const Parameter& parameter) {
  at::Tensor values = parameter.value().detach().clone(at::MemoryFormat::Contiguous);
  if (target.norm) multiply_channels(values, fold_factor(*target.norm));
  return values.flatten(1);
}

/// The values before folding that fold to this matrix, in the parameter's shape.
at::Tensor unfolded(const WeightTarget& target, const Parameter& parameter,
                    const at::Tensor& matrix) {
  const at::Tensor before = parameter.value().detach();
  at::Tensor values = matrix.view(before.sizes()).clone();
  if (target.norm) divide_channels(values, fold_factor(*target.norm), before);
  return values;
}

/// Sees the inputs of these weights' products while it lives.
class Watch {
 public:
  using See = std::function<void(size_t i, const at::Tensor& x)>;
  Watch(const std::vector<Parameter*>& weights, const See& see) : weights_(weights) {
    for (size_t i = 0; i < weights_.size(); ++i) {
      weights_[i]->watch_inputs([see, i](const at::Tensor& x) { see(i, x); });
    }
  }
  ~Watch() {
    for (Parameter* weight : weights_) weight->watch_inputs(nullptr);
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  const std::vector<Parameter*>& weights_;
};

/// The largest sum of squares of an input over the first batch, of each product; on every rank.
at::Tensor magnitudes(Model& model, const std::vector<Parameter*>& weights,
                      const CalibrationSet& calibration, int64_t samples) {
  at::Tensor largest = at::zeros({static_cast<int64_t>(weights.size())}, at::kDouble);
  double* out = largest.mutable_data_ptr<double>();
  {
    const Watch watch(weights, [&](size_t i, const at::Tensor& x) {
      const at::Tensor sums = x.reshape({-1, x.size(-1)}).to(at::kFloat).square().sum(0);
      out[i] = std::max(out[i], sums.max().item<double>());
    });
    model.loss(calibration.batch(samples, 0), ForwardContext{});
  }
  calibration.ranks().all_reduce(largest, ReduceOp::kMax);
  return largest;
}

std::vector<InputHessian> hessians_of(Model& model, const std::vector<Parameter*>& weights,
                                      const CalibrationSet& calibration, int64_t samples) {
  const at::Tensor largest = magnitudes(model, weights, calibration, samples);
  std::vector<InputHessian> hessians;
  for (size_t i = 0; i < weights.size(); ++i) {
    const at::Tensor& value = weights[i]->value();
    hessians.emplace_back(value.numel() / value.size(0), largest[i].item<double>());
  }
  {
    const Watch watch(
        weights, [&](size_t i, const at::Tensor& x) { hessians[i].add(x, weights[i]->name()); });
    calibration.each_of_mine(
        samples, [&](int64_t, const Batch& batch) { model.loss(batch, ForwardContext{}); });
  }
  for (InputHessian& hessian : hessians) {
    calibration.ranks().all_reduce(hessian.sums(), ReduceOp::kSum);
  }
  return hessians;
}

/// A weight that is rounded, and the number of its target.
struct Chosen {
  size_t index = 0;
  const WeightTarget* target = nullptr;
  Parameter* weight = nullptr;
};

/// From the rank that rounded a weight to the others.
void share(GptqWeight& rounded, const WeightFormat& format, const at::Tensor& matrix, int root,
           Communicator& ranks) {
  if (ranks.rank() != root) {
    rounded.values = at::empty_like(matrix);
    if (format.takes_scales()) rounded.scales = format.scales_of(matrix);
  }
  ranks.broadcast(rounded.values, root);
  if (!rounded.scales) return;
  ranks.broadcast(rounded.scales->scale, root);
  if (rounded.scales->zero_point.defined()) ranks.broadcast(rounded.scales->zero_point, root);
}

/// Rounds weights whose inputs are seen in the same pass.
void round_together(Model& model, std::span<const Chosen> chosen, const CalibrationSet& calibration,
                    const GptqSection& options, const TakeGptqWeight& take) {
  std::vector<Parameter*> weights;
  for (const Chosen& one : chosen) weights.push_back(one.weight);
  const std::vector<InputHessian> hessians =
      hessians_of(model, weights, calibration, options.samples);
  Communicator& ranks = calibration.ranks();
  GptqWeight mine;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const int root = static_cast<int>(i % ranks.size());
    // The ranks round as many weights at a time as there are ranks.
    const size_t own = i + static_cast<size_t>(ranks.rank());
    if (root == 0 && own < chosen.size()) {
      mine = gptq_rounded(*chosen[own].target->format,
                          matrix_of(*chosen[own].target, *chosen[own].weight), hessians[own].sums(),
                          {.damping = options.damping}, chosen[own].target->observer);
    }
    const WeightTarget& target = *chosen[i].target;
    GptqWeight rounded = root == ranks.rank() ? mine : GptqWeight();
    share(rounded, *target.format, matrix_of(target, *weights[i]), root, ranks);
    rounded.values = unfolded(target, *weights[i], rounded.values);
    take(chosen[i].index, rounded);
  }
}

}  // namespace

void GptqSection::describe(Fields& f) {
  f("samples", samples, "samples of the training data whose inputs are seen").at_least(1);
  f("damping", damping, "added to the Hessian's diagonal, as a share of its mean").greater_than(0);
}

void round_by_gptq(Model& model, const std::vector<WeightTarget>& targets,
                   const CalibrationSet& calibration, const GptqSection& options,
                   const TakeGptqWeight& take) {
  const at::AutoGradMode no_grad(false);
  std::vector<Chosen> chosen;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!rounds_by_columns(*targets[i].format)) continue;
    chosen.push_back({i, &targets[i], &parameter_named(model, targets[i].parameter)});
  }
  const bool one_by_one = std::ranges::any_of(
      model.activations, [](const ActivationPoint* point) { return point->hook() != nullptr; });
  const size_t pass = one_by_one ? 1 : chosen.size();
  for (size_t i = 0; i < chosen.size(); i += pass) {
    round_together(model, std::span(chosen).subspan(i, pass), calibration, options, take);
  }
}

}  // namespace wattle
