#include "trainer/nn/model.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "common/error.h"
#include "trainer/nn/graph/graph_recorder.h"

namespace wattle {

at::Tensor Model::forward(const at::Tensor& inputs, const ForwardContext& context) {
  at::Tensor activations = inputs;
  // Tables and images come as float32; a model of another precision works in its own.
  if (inputs.is_floating_point() && !parameters.empty()) {
    activations = inputs.to(parameters.front()->value().scalar_type());
  }
  if (context.recorder) context.recorder->begin(activations);
  if (input) activations = (*input)(activations, context);
  for (const auto& layer : layers) activations = layer->forward(activations, context);
  return activations;
}

LossResult Model::loss(const Batch& batch, const ForwardContext& context) {
  ForwardContext with_inputs = context;
  with_inputs.inputs = &batch.inputs;
  return objective->loss(forward(batch.inputs, with_inputs), batch.targets, with_inputs);
}

void Model::update_running_statistics(const std::vector<BatchStatistics>& statistics) {
  if (statistics.size() * 2 != buffers.size()) {
    throw Error(ErrorCode::kInternal, fmt::format("{} batch statistics for {} buffers",
                                                  statistics.size(), buffers.size()));
  }
  at::AutoGradMode no_grad(false);
  for (size_t i = 0; i < statistics.size(); ++i) {
    buffers[2 * i].value.lerp_(statistics[i].mean, running_average_momentum);
    buffers[2 * i + 1].value.lerp_(statistics[i].variance, running_average_momentum);
  }
}

int64_t Model::parameter_count() const {
  int64_t count = 0;
  for (const Parameter* parameter : parameters) count += parameter->value().numel();
  return count;
}

}  // namespace wattle
