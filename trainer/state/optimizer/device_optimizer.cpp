#include "trainer/state/optimizer/device_optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

namespace wattle {
namespace {

class DeviceOptimizer : public Optimizer {
 public:
  DeviceOptimizer(const OptimizerOptions& options, std::vector<DecayGroup> groups, FlatRange range,
                  const at::Tensor& like)
      : options_(options), groups_(std::move(groups)), range_(range) {
    if (options.name == OptimizerName::kSgd) {
      state_ = {{"momentum", at::zeros({range.numel()}, like.options())}};
    } else {
      state_ = {{"exp_avg", at::zeros({range.numel()}, like.options())},
                {"exp_avg_sq", at::zeros({range.numel()}, like.options())}};
    }
  }

  void update(at::Tensor master, at::Tensor gradients, const UpdateStep& step) override {
    const at::NoGradGuard no_grad;
    check_update(*this, master, gradients);
    const at::Tensor widened = gradients.to(master.scalar_type());
    const auto scalar = [&](double value) {
      return at::full({}, value, master.options().dtype(at::kFloat));
    };
    // The operators divide by it.
    const at::Tensor divisor = scalar(1 / step.gradient_scale);
    const at::Tensor number = scalar(static_cast<double>(step.number));
    for (bool decays : {false, true}) {
      const std::vector<at::Tensor> parts = views(master, decays);
      if (parts.empty()) continue;
      const double weight_decay = decays ? options_.resolved_weight_decay() : 0;
      if (options_.name == OptimizerName::kSgd) {
        at::_fused_sgd_(parts, views(widened, decays), velocities(decays), weight_decay,
                        options_.momentum, step.learning_rate, 0, options_.nesterov, false, false,
                        divisor);
        continue;
      }
      const auto adam = options_.name == OptimizerName::kAdamW ? &run_adamw : &run_adam;
      adam(parts, views(widened, decays), views(state_[0].value, decays),
           views(state_[1].value, decays), std::vector<at::Tensor>(parts.size(), number), step,
           options_, weight_decay, divisor);
    }
  }

  std::vector<NamedTensor> state() override { return state_; }
  FlatRange range() const override { return range_; }

 private:
  using Tensors = std::vector<at::Tensor>;

  static void run_adam(const Tensors& p, const Tensors& g, const Tensors& m, const Tensors& v,
                       const Tensors& numbers, const UpdateStep& step, const OptimizerOptions& o,
                       double weight_decay, const at::Tensor& divisor) {
    at::_fused_adam_(p, g, m, v, {}, numbers, step.learning_rate, o.betas[0], o.betas[1],
                     weight_decay, o.eps, false, false, divisor);
  }
  static void run_adamw(const Tensors& p, const Tensors& g, const Tensors& m, const Tensors& v,
                        const Tensors& numbers, const UpdateStep& step, const OptimizerOptions& o,
                        double weight_decay, const at::Tensor& divisor) {
    at::_fused_adamw_(p, g, m, v, {}, numbers, step.learning_rate, o.betas[0], o.betas[1],
                      weight_decay, o.eps, false, false, divisor);
  }

  Tensors views(const at::Tensor& flat, bool decays) const {
    Tensors parts;
    for (const DecayGroup& group : groups_) {
      if (group.decays == decays) {
        parts.push_back(flat.narrow(0, group.range.begin, group.range.numel()));
      }
    }
    return parts;
  }
  /// The operator takes no velocities where there is no momentum.
  Tensors velocities(bool decays) const {
    return options_.momentum > 0 ? views(state_[0].value, decays) : Tensors{};
  }

  OptimizerOptions options_;
  std::vector<DecayGroup> groups_;
  FlatRange range_;
  std::vector<NamedTensor> state_;
};

}  // namespace

std::unique_ptr<Optimizer> make_device_optimizer(const OptimizerOptions& options,
                                                 std::vector<DecayGroup> groups, FlatRange range,
                                                 const at::Tensor& like) {
  return std::make_unique<DeviceOptimizer>(options, std::move(groups), range, like);
}

}  // namespace wattle
