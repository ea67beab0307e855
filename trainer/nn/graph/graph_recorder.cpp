#include "trainer/nn/graph/graph_recorder.h"

#include "common/error.h"

namespace wattle {

int64_t GraphRecorder::number_of(const at::Tensor& tensor) const {
  const auto found = numbers_.find(tensor.unsafeGetTensorImpl());
  if (found != numbers_.end()) return found->second;
  throw Error(ErrorCode::kUnsupported, "the model has layers that tell no graph of themselves");
}

void GraphRecorder::keep(const at::Tensor& tensor, int64_t number) {
  numbers_[tensor.unsafeGetTensorImpl()] = number;
  kept_.push_back(tensor);
}

void GraphRecorder::begin(const at::Tensor& input) {
  graph_.input = static_cast<int64_t>(graph_.values.size());
  graph_.values.emplace_back();
  keep(input, graph_.input);
}

void GraphRecorder::add(Operation operation, const std::vector<at::Tensor>& inputs,
                        const at::Tensor& output) {
  for (const at::Tensor& input : inputs) operation.inputs.push_back(number_of(input));
  operation.output = static_cast<int64_t>(graph_.values.size());
  graph_.values.emplace_back();
  keep(output, operation.output);
  graph_.operations.push_back(std::move(operation));
}

void GraphRecorder::mark(const ActivationPoint& point, const at::Tensor& x, const at::Tensor& y) {
  const int64_t number = number_of(x);
  graph_.values[number].point = &point;
  keep(y, number);
}

Graph GraphRecorder::finish(const at::Tensor& output) {
  graph_.output = number_of(output);
  return std::move(graph_);
}

}  // namespace wattle
