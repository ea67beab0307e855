#include "trainer/loop/training_step.h"

#include <cmath>
#include <numeric>

#include "common/error.h"
#include "trainer/loop/statistics_exchange.h"

namespace wattle {

TrainingStep::TrainingStep(Parts parts, const Settings& settings)
    : parts_(parts), settings_(settings), meter_(parts.parameters.layout().numel) {
  const std::vector<Parameter*>& parameters = parts_.parameters.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    parameters[i]->on_ready([this, i] {
      if (is_last_micro_batch_) parts_.reducer.mark_ready(static_cast<int64_t>(i));
    });
  }
}

void TrainingStep::forward_backward(const Batch& batch, const StepView& view) {
  ForwardContext context;
  context.training = true;
  context.seed = settings_.seed;
  context.step = view.step;
  context.sample_indices = &batch.sample_indices;
  context.loss_weight = 1.0 / static_cast<double>(view.total);
  context.trace = view.timer;
  context.frozen_norms = parts_.model.frozen_norms;
  std::vector<BatchStatistics> statistics;
  context.statistics = &statistics;

  LossResult result;
  {
    const PhaseWindow window = parts_.energy.window(Phase::kForward);
    if (view.timer) view.timer->begin();
    result = parts_.model.loss(batch, context);
    losses_.push_back(result.loss.item<double>());
    if (view.timer) view.timer->end(Phase::kForward);
  }
  const PhaseWindow window = parts_.energy.window(Phase::kBackward);
  if (view.timer) view.timer->begin();
  result.loss.backward();
  if (view.timer) view.timer->end(Phase::kBackward);
  statistics_.push_back(std::move(statistics));
}

void TrainingStep::accumulate(const StepView& view, const std::function<Batch(int64_t)>& fetch) {
  const auto& parameters = parts_.parameters.parameters();
  const auto begin = [&] {
    for (Parameter* parameter : parameters) parameter->begin_step();
  };
  const auto end = [&] {
    for (Parameter* parameter : parameters) parameter->end_step();
  };
  losses_.clear();
  statistics_.clear();
  parts_.reducer.begin_step(view.first, view.count, view.total);
  if (!settings_.deterministic) begin();
  for (int64_t i = 0; i < view.count; ++i) {
    const Batch batch = [&] {
      const PhaseWindow window = parts_.energy.window(Phase::kData);
      return fetch(i);
    }();
    is_last_micro_batch_ = i + 1 == view.count;
    // A deterministic sum takes each micro-batch's gradient by itself.
    if (settings_.deterministic) begin();
    parts_.reducer.begin_micro_batch();
    forward_backward(batch, view);
    if (settings_.deterministic || is_last_micro_batch_) end();
    parts_.reducer.end_micro_batch();
    parts_.pace();
  }
}

StepOutcome TrainingStep::run(const StepView& view, const std::function<Batch(int64_t)>& fetch,
                              double learning_rate, bool stop_asked) {
  accumulate(view, fetch);

  StepOutcome outcome;
  {
    const PhaseWindow window = parts_.energy.window(Phase::kCommunication);
    parts_.reducer.finish();
    losses_.push_back(stop_asked);
    double sum = 0;
    for (const std::vector<double>& row : parts_.exchange.gather(losses_)) {
      sum = std::accumulate(row.begin(), row.end() - 1, sum);  // in the order of micro-batches
      outcome.stop_asked |= row.back() != 0;
    }
    outcome.loss = sum / static_cast<double>(view.total);
  }

  const PhaseWindow window = parts_.energy.window(Phase::kOptimizer);
  parts_.parameters.finish_gradients();
  const GradientNorm norm = meter_.measure(parts_.parameters.gradients());
  outcome.grad_norm = norm.norm;
  outcome.finite = norm.finite && std::isfinite(outcome.loss);
  if (!outcome.finite) return outcome;
  exchange_statistics(parts_.exchange, statistics_, parts_.model);

  const double scale = settings_.grad_clip ? clip_scale(norm.norm, *settings_.grad_clip) : 1.0;
  parts_.optimizer.update(parts_.parameters.master(), parts_.parameters.gradients(),
                          {view.step + 1, learning_rate, scale});
  parts_.parameters.update_transforms();
  parts_.parameters.publish();
  return outcome;
}

}  // namespace wattle
