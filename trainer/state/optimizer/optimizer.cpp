#include "trainer/state/optimizer/optimizer.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "trainer/state/optimizer/device_optimizer.h"
#include "trainer/state/optimizer/update_kernels.h"

namespace wattle {
namespace {

constexpr int64_t kGrain = 32768;

/// Cuts [0, range.numel()) where decay begins and ends.
std::vector<DecayGroup> groups_of(const std::vector<FlatRange>& decaying, FlatRange range) {
  std::vector<DecayGroup> groups;
  int64_t done = range.begin;
  const auto add_until = [&](int64_t end, bool decays) {
    end = std::min(end, range.end);
    if (end <= done) return;
    groups.push_back({{done - range.begin, end - range.begin}, decays});
    done = end;
  };
  for (const FlatRange& next : decaying) {
    add_until(next.begin, false);
    add_until(next.end, true);
  }
  add_until(range.end, false);
  return groups;
}

/// Calls update(begin, n, decays) for parts of all groups, from all threads.
template <class Update>
void for_each_part(const std::vector<DecayGroup>& groups, int64_t numel, const Update& update) {
  at::parallel_for(0, numel, kGrain, [&](int64_t begin, int64_t end) {
    auto group = std::partition_point(groups.begin(), groups.end(),
                                      [&](const DecayGroup& g) { return g.range.end <= begin; });
    for (; group != groups.end() && group->range.begin < end; ++group) {
      const int64_t first = std::max(begin, group->range.begin);
      update(first, std::min(end, group->range.end) - first, group->decays);
    }
  });
}

/// Calls run(master pointer, gradient pointer) with the pointers' types.
template <class Run>
void with_types(at::Tensor& master, const at::Tensor& gradients, const Run& run) {
  if (master.scalar_type() == at::kDouble) {
    run(master.mutable_data_ptr<double>(), gradients.const_data_ptr<double>());
  } else if (gradients.scalar_type() == at::kBFloat16) {
    run(master.mutable_data_ptr<float>(),
        static_cast<const Bfloat16Bits*>(gradients.const_data_ptr()));
  } else {
    run(master.mutable_data_ptr<float>(), gradients.const_data_ptr<float>());
  }
}

class Adam : public Optimizer {
 public:
  Adam(const OptimizerOptions& options, std::vector<DecayGroup> groups, FlatRange range,
       const at::Tensor& like)
      : options_(options),
        groups_(std::move(groups)),
        range_(range),
        first_(at::zeros({range.numel()}, like.options())),
        second_(at::zeros({range.numel()}, like.options())) {}

  void update(at::Tensor master, at::Tensor gradients, const UpdateStep& step) override {
    check_update(*this, master, gradients);
    const AdamConstants decaying = constants(step, options_.resolved_weight_decay());
    const AdamConstants plain = constants(step, 0);
    with_types(master, gradients, [&](auto* p, const auto* g) {
      using Real = std::remove_pointer_t<decltype(p)>;
      Real* m = first_.mutable_data_ptr<Real>();
      Real* v = second_.mutable_data_ptr<Real>();
      for_each_part(groups_, range_.numel(), [&](int64_t i, int64_t n, bool decays) {
        adam_update(p + i, g + i, m + i, v + i, n, decays ? decaying : plain);
      });
    });
  }

  std::vector<NamedTensor> state() override {
    return {{"exp_avg", first_}, {"exp_avg_sq", second_}};
  }
  FlatRange range() const override { return range_; }

 private:
  AdamConstants constants(const UpdateStep& step, double weight_decay) const {
    const double beta1 = options_.betas[0], beta2 = options_.betas[1];
    const bool decoupled = options_.name == OptimizerName::kAdamW;
    return {.beta1 = beta1,
            .beta2 = beta2,
            .eps = options_.eps,
            .step_size = step.learning_rate / (1 - std::pow(beta1, step.number)),
            .second_correction = std::sqrt(1 - std::pow(beta2, step.number)),
            .gradient_scale = step.gradient_scale,
            .coupled_decay = decoupled ? 0 : weight_decay,
            .decoupled_factor = decoupled ? 1 - step.learning_rate * weight_decay : 1};
  }

  OptimizerOptions options_;
  std::vector<DecayGroup> groups_;
  FlatRange range_;
  at::Tensor first_, second_;  ///< running means of the gradient and of its square
};

class Sgd : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, std::vector<DecayGroup> groups, FlatRange range,
      const at::Tensor& like)
      : options_(options),
        groups_(std::move(groups)),
        range_(range),
        velocity_(at::zeros({range.numel()}, like.options())) {}

  void update(at::Tensor master, at::Tensor gradients, const UpdateStep& step) override {
    check_update(*this, master, gradients);
    SgdConstants decaying{step.learning_rate, options_.momentum, step.gradient_scale,
                          options_.resolved_weight_decay(), options_.nesterov};
    SgdConstants plain = decaying;
    plain.weight_decay = 0;
    with_types(master, gradients, [&](auto* p, const auto* g) {
      auto* velocity = velocity_.mutable_data_ptr<std::remove_pointer_t<decltype(p)>>();
      for_each_part(groups_, range_.numel(), [&](int64_t i, int64_t n, bool decays) {
        sgd_update(p + i, g + i, velocity + i, n, decays ? decaying : plain);
      });
    });
  }

  std::vector<NamedTensor> state() override { return {{"momentum", velocity_}}; }
  FlatRange range() const override { return range_; }

 private:
  OptimizerOptions options_;
  std::vector<DecayGroup> groups_;
  FlatRange range_;
  at::Tensor velocity_;
};

}  // namespace

void check_update(Optimizer& optimizer, const at::Tensor& master, const at::Tensor& gradients) {
  const at::Tensor state = optimizer.state().front().value;
  const bool fits = master.numel() == state.numel() && gradients.numel() == state.numel() &&
                    master.scalar_type() == state.scalar_type() && master.is_contiguous() &&
                    gradients.is_contiguous();
  const bool pair =
      gradients.scalar_type() == master.scalar_type() ||
      (master.scalar_type() == at::kFloat && gradients.scalar_type() == at::kBFloat16);
  if (!fits || !pair) {
    throw Error(ErrorCode::kInternal,
                "optimizer: expected contiguous buffers of " + std::to_string(state.numel()) + " " +
                    c10::toString(state.scalar_type()) + ", got " + std::to_string(master.numel()) +
                    " " + c10::toString(master.scalar_type()) + " with gradients of " +
                    std::to_string(gradients.numel()) + " " +
                    c10::toString(gradients.scalar_type()));
  }
}

std::vector<FlatRange> decaying_ranges(const std::vector<Parameter*>& parameters,
                                       const FlatLayout& layout) {
  std::vector<FlatRange> ranges;
  bool joined = false;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const FlatLayout::Span& span = layout.spans[i];
    const bool decays = parameters[i]->decays();
    if (decays && joined) {
      ranges.back().end = span.offset + span.numel;  // the gap between holds zeros
    } else if (decays) {
      ranges.push_back({span.offset, span.offset + span.numel});
    }
    joined = decays;
  }
  return ranges;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options,
                                          const std::vector<FlatRange>& decaying, FlatRange range,
                                          const at::Tensor& like) {
  const at::NoGradGuard no_grad;
  std::vector<DecayGroup> groups = groups_of(decaying, range);
  if (!like.is_cpu()) return make_device_optimizer(options, std::move(groups), range, like);
  if (options.name == OptimizerName::kSgd) {
    return std::make_unique<Sgd>(options, std::move(groups), range, like);
  }
  return std::make_unique<Adam>(options, std::move(groups), range, like);
}

}  // namespace wattle
