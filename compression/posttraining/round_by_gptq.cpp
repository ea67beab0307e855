#include "compression/posttraining/round_by_gptq.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"

namespace wattle {
namespace {

Parameter& parameter_named(const Model& model, const std::string& name) {
  const auto found =
      std::ranges::find_if(model.parameters, [&](const Parameter* p) { return p->name() == name; });
  return **found;
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
    hessians.emplace_back(weights[i]->value().size(1), largest[i].item<double>());
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

/// From the rank that rounded a weight to the others.
void share(GptqWeight& rounded, const WeightFormat& format, const at::Tensor& weight, int root,
           Communicator& ranks) {
  if (ranks.rank() != root) {
    rounded.values = at::empty_like(weight);
    if (format.takes_scales()) rounded.scales = format.scales_of(weight);
  }
  ranks.broadcast(rounded.values, root);
  if (!rounded.scales) return;
  ranks.broadcast(rounded.scales->scale, root);
  if (rounded.scales->zero_point.defined()) ranks.broadcast(rounded.scales->zero_point, root);
}

}  // namespace

void GptqSection::describe(Fields& f) {
  f("samples", samples, "samples of the training data whose inputs are seen").at_least(1);
  f("damping", damping, "added to the Hessian's diagonal, as a share of its mean").greater_than(0);
}

std::string gptq_refusal(const std::vector<WeightTarget>& targets, const Model& model) {
  for (const WeightTarget& target : targets) {
    const int64_t dims = parameter_named(model, target.parameter).value().dim();
    if (dims == 2) continue;
    return fmt::format("{} has {} dimensions; GPTQ rounds matrices only", target.parameter, dims);
  }
  return "";
}

void round_by_gptq(Model& model, const std::vector<WeightTarget>& targets,
                   const CalibrationSet& calibration, const GptqSection& options,
                   const std::function<void(size_t i, const GptqWeight& rounded)>& take) {
  const at::AutoGradMode no_grad(false);
  if (const std::string refusal = gptq_refusal(targets, model); !refusal.empty()) {
    throw Error(ErrorCode::kConfig, refusal);
  }
  std::vector<size_t> chosen;  // of the targets
  std::vector<Parameter*> weights;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!rounds_by_columns(*targets[i].format)) continue;
    chosen.push_back(i);
    weights.push_back(&parameter_named(model, targets[i].parameter));
  }
  const std::vector<InputHessian> hessians =
      hessians_of(model, weights, calibration, options.samples);
  Communicator& ranks = calibration.ranks();
  GptqWeight mine;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const int root = static_cast<int>(i % ranks.size());
    // The ranks round as many weights at a time as there are ranks.
    const size_t own = i + static_cast<size_t>(ranks.rank());
    if (root == 0 && own < chosen.size()) {
      mine = gptq_rounded(*targets[chosen[own]].format, weights[own]->value().detach().contiguous(),
                          hessians[own].sums(), {.damping = options.damping});
    }
    GptqWeight rounded = root == ranks.rank() ? mine : GptqWeight();
    share(rounded, *targets[chosen[i]].format, weights[i]->value().detach().contiguous(), root,
          ranks);
    take(chosen[i], rounded);
  }
}

}  // namespace wattle
