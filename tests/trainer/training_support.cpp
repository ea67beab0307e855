#include "tests/trainer/training_support.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

namespace wattle::testing_support {

TrainableModel::TrainableModel(const ModelOptions& options, at::ScalarType type, uint64_t seed)
    : model_(build_model(options, seed, type)) {
  for (Parameter* parameter : model_.parameters) bind_alone(*parameter);
}

double TrainableModel::step(const Batch& batch, ForwardContext context) {
  return step(std::vector<Batch>{batch}, context);
}

double TrainableModel::step(const std::vector<Batch>& batches, ForwardContext context) {
  for (Parameter* parameter : model_.parameters) parameter->begin_step();
  context.training = true;
  context.loss_weight = 1.0 / static_cast<double>(batches.size());
  double total = 0;
  for (const Batch& batch : batches) {
    context.sample_indices = &batch.sample_indices;
    const LossResult result = model_.loss(batch, context);
    result.loss.backward();
    total += result.loss.item<double>() * context.loss_weight;
  }
  for (Parameter* parameter : model_.parameters) parameter->end_step();
  return total;
}

double TrainableModel::loss(const Batch& batch, ForwardContext context) {
  at::AutoGradMode no_grad(false);
  context.sample_indices = &batch.sample_indices;
  return model_.loss(batch, context).loss.item<double>();
}

void TrainableModel::descend(double rate) {
  at::AutoGradMode no_grad(false);
  for (Parameter* parameter : model_.parameters) {
    at::Tensor value = parameter->value();
    value.sub_(parameter->grad(), rate);
  }
}

std::vector<at::Tensor> TrainableModel::gradients() const {
  std::vector<at::Tensor> copies;
  for (const Parameter* parameter : model_.parameters) copies.push_back(parameter->grad().clone());
  return copies;
}

void bind_alone(Parameter& parameter) {
  at::AutoGradMode no_grad(false);
  at::Tensor value = parameter.value().detach().clone();
  parameter.bind(value, at::empty_like(value));
}

Batch token_batch(int64_t batch, int64_t seq, int64_t vocab, int64_t first_sample) {
  const at::Tensor places =
      at::arange(first_sample * 97, first_sample * 97 + batch * (seq + 1), at::kLong);
  const at::Tensor text =
      ((places * places * 31 + places * 7) % 1009 % vocab).view({batch, seq + 1});
  Batch made{text.narrow(1, 0, seq).contiguous(), text.narrow(1, 1, seq).contiguous(), {}};
  for (int64_t i = 0; i < batch; ++i) made.sample_indices.push_back(first_sample + i);
  return made;
}

Batch rows_of(const Batch& batch, int64_t begin, int64_t end) {
  return {batch.inputs.narrow(0, begin, end - begin),
          batch.targets.narrow(0, begin, end - begin),
          {batch.sample_indices.begin() + begin, batch.sample_indices.begin() + end}};
}

double gradient_error(TrainableModel& trained, const Batch& batch, const ForwardContext& context,
                      int64_t probes) {
  trained.step(batch, context);
  double worst = 0;
  for (Parameter* parameter : trained.model().parameters) {
    double* values = parameter->value().mutable_data_ptr<double>();
    const double* grads = parameter->grad().const_data_ptr<double>();
    const int64_t count = parameter->value().numel();
    const double norm = std::max(parameter->grad().abs().max().item<double>(), 1e-3);
    for (int64_t p = 0; p < std::min(probes, count); ++p) {
      const int64_t i = (p * 7919 + 3) % count;
      const double before = values[i], step = 1e-5;
      ForwardContext same = context;
      same.training = true;
      values[i] = before + step;
      const double above = trained.loss(batch, same);
      values[i] = before - step;
      const double below = trained.loss(batch, same);
      values[i] = before;
      worst = std::max(worst, std::abs((above - below) / (2 * step) - grads[i]) / norm);
    }
  }
  return worst;
}

}  // namespace wattle::testing_support
